package dispatch

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// apart is an account that sends each WhatsApp message in a request of its own.
type apart struct{ providers.Provider }

func (apart) GroupKey(m *providers.Message) string {
	if m.Channel == providers.WhatsApp {
		return m.ID
	}
	return m.From
}

func TestWhatsAppReachesTheAdapterFilled(t *testing.T) {
	t.Parallel()
	h := &held{p: envelope.Piece{
		ID: "e", Template: true, Channel: envelope.WhatsApp, Options: map[string]string{"k": "v"},
		Form:     &envelope.Template{Name: "t", Language: "en", Parameters: []string{"{{name}}", "{{1}}"}},
		Messages: []envelope.Message{{Index: 4, To: "+254712345678", Variables: map[string]string{"name": "Asha"}, Segments: 1}},
	}}
	want := providers.Message{
		ID: "e-4", To: "+254712345678", Segments: 1, Channel: providers.WhatsApp, Options: map[string]string{"k": "v"},
		Template: &providers.Template{Name: "t", Language: "en", Parameters: []string{"Asha", "{{1}}"}},
	}
	if d := cmp.Diff(want, (item{h, 0}).provider()); d != "" {
		t.Error(d)
	}
}

// TestEachWhatsAppMessageIsAskedForItsGroup: the messages of one SMS share a
// group, those of a channel that sends one by one do not.
func TestEachWhatsAppMessageIsAskedForItsGroup(t *testing.T) {
	t.Parallel()
	a := &account{o: Account{Provider: apart{}}}
	for channel, want := range map[envelope.Channel]int{"": 1, envelope.WhatsApp: 3} {
		h := &held{p: envelope.Piece{ID: "e", From: "ACME", Channel: channel}}
		var items []item
		for i := range 3 {
			h.p.Messages = append(h.p.Messages, envelope.Message{Index: i})
			items = append(items, item{h, int32(i)})
		}
		(&lane{a: a}).name(h, items)
		var groups []string
		for _, it := range items {
			groups = append(groups, it.group())
		}
		slices.Sort(groups)
		if got := len(slices.Compact(groups)); got != want {
			t.Errorf("channel %q: %d groups, want %d", channel, got, want)
		}
	}
}
