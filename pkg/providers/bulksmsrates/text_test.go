package bulksmsrates_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	p := account(t, nil, nil)
	for from, carried := range map[string]bool{
		"MyApp": true, "ABCDEFGHIJK": true, "447700900123": true, "+447700900123": true, "15000": true,
		"ABCDEFGHIJKL": false, "My App": false, "": false, "+MyApp": false, "É": false, "1234567890123456": false,
	} {
		m := message(1, "x", nil)
		m.From = from
		var e *providers.Error
		if err := p.Check(&m); carried && err != nil || !carried && (!errors.As(err, &e) || e.Class != providers.RejectedHere) {
			t.Errorf("sender %q: %v", from, err)
		}
	}
	for _, m := range []providers.Message{message(1, "", nil), message(1, "{{x}}", map[string]string{}), {To: "0770", From: "MyApp", Text: "x"}} {
		var e *providers.Error
		if err := p.Check(&m); !errors.As(err, &e) || e.Class != providers.Rejected {
			t.Errorf("%+v: %v", m, err)
		}
	}
}

// TestValidity: rounded up, so that age does not split batches; not told when
// it is the gateway's own default or more.
func TestValidity(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]int{
		-time.Minute: 1, time.Second: 1, 5 * time.Minute: 5, 5*time.Minute + 1: 10, 3 * time.Hour: 240,
		24 * time.Hour: 1440, 25 * time.Hour: 2160, 37 * time.Hour: 0, 48 * time.Hour: 0, 72 * time.Hour: 0,
	} {
		for _, n := range []int{1, 2} {
			g := &gateway{}
			b := batch([]string{"x", "x"}[:n]...)
			for i := range b.Messages {
				b.Messages[i].ExpiresAt = providertest.Now().Add(left)
			}
			if _, err := account(t, g, nil).Send(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if got := g.sent.Validity; want == 0 && got != nil || want != 0 && (got == nil || *got != want) {
				t.Errorf("%v left, %d messages: got %v, want %d", left, n, got, want)
			}
		}
	}
	p := account(t, nil, nil)
	key := func(left time.Duration) string {
		m := message(1, "x", nil)
		m.ExpiresAt = providertest.Now().Add(left)
		return p.GroupKey(&m)
	}
	if key(47*time.Hour) != key(72*time.Hour) || key(58*time.Minute) != key(59*time.Minute) {
		t.Error("messages of about one age share a request")
	}
	if key(5*time.Minute) == key(47*time.Hour) {
		t.Error("a short validity must not become a long one's")
	}
}

// TestArrivesAsMeant plays the gateway, filling in values in one pass and, the
// other way to do it, one after the other: each handset gets the text that
// rendering gives, and nothing that a user typed is filled in.
func TestArrivesAsMeant(t *testing.T) {
	t.Parallel()
	part := rapid.SampledFrom([]string{"Hi ", "{{a}}", "{{ a }}", "{{b}}", "{{t}}", "{{1}}", "{{", "}}", "{", "}", "t", "Asha ", "😀"})
	words := rapid.Map(rapid.SliceOfN(part, 1, 5), func(p []string) string { return strings.Join(p, "") })
	rapid.Check(t, func(t *rapid.T) {
		g := &gateway{}
		p := account(t, g, map[string]any{"whole_text": rapid.Bool().Draw(t, "whole_text")})
		texts := rapid.SliceOfN(words, 1, 2).Draw(t, "texts")
		groups := map[string][]providers.Message{}
		want, onePass, oneByOne := map[string]string{}, map[string]string{}, map[string]string{}
		for i := range rapid.IntRange(1, 5).Draw(t, "n") {
			m := message(i, rapid.SampledFrom(texts).Draw(t, "text"), nil)
			want[m.To] = m.Text
			if rapid.Bool().Draw(t, "template") {
				m.Variables = map[string]string{"a": words.Draw(t, "a"), "b": words.Draw(t, "b"), "t": "", "more": "x"}
				want[m.To], _ = envelope.Render(m.Text, m.Variables)
			}
			if want[m.To] == "" {
				delete(want, m.To)
				continue
			}
			groups[p.GroupKey(&m)] = append(groups[p.GroupKey(&m)], m)
		}
		for _, messages := range groups {
			if _, err := p.Send(t.Context(), &providers.Batch{ID: "b", Messages: messages}); err != nil {
				t.Fatal(err)
			}
			all := g.sent.Recipients
			if len(all) == 0 {
				all = []request{g.sent}
			}
			for _, r := range all {
				onePass[r.To] = fillOnePass(g.sent.Body, r.Variables)
				oneByOne[r.To] = fillOneByOne(g.sent.Body, r.Variables)
			}
		}
		if diff := cmp.Diff(want, onePass); diff != "" {
			t.Fatal("in one pass: ", diff)
		}
		if diff := cmp.Diff(want, oneByOne); diff != "" {
			t.Fatal("one by one: ", diff)
		}
	})
}

var placeholder = regexp.MustCompile(`\{\{(\w+)\}\}`)

func fillOnePass(body string, values map[string]string) string {
	return placeholder.ReplaceAllStringFunc(body, func(s string) string { return values[s[2:len(s)-2]] })
}

func fillOneByOne(body string, values map[string]string) string {
	for name, v := range values {
		body = strings.ReplaceAll(body, "{{"+name+"}}", v)
	}
	return body
}

func TestGroups(t *testing.T) {
	t.Parallel()
	key := func(p providers.Provider, text string, vars map[string]string) string {
		m := message(1, text, vars)
		return p.GroupKey(&m)
	}
	name := func(v string) map[string]string { return map[string]string{"name": v} }
	p, whole := account(t, nil, nil), account(t, nil, map[string]any{"whole_text": true})
	if key(p, "Hi {{name}}", name("Asha")) != key(p, "Hi {{ name }}", name("Ben")) {
		t.Error("values differ, the key must not")
	}
	if key(p, "Hi Asha", nil) == key(p, "Hi Ben", nil) {
		t.Error("without the option different texts do not share a request")
	}
	if key(whole, "Hi Asha", nil) != key(whole, "{{name}}", name("Ben")) {
		t.Error("with the option any texts do")
	}
	// In doubt: what the gateway could see as a placeholder of its own, or lose.
	for text, vars := range map[string]map[string]string{
		"Hi {{name}} {{1}}": name("Asha"), "{{{name}}}": name("Asha"), "Hi {{name}}": name("{{name}}"),
		"Hi {{name}}!": name(""), "{{1}}": nil, "{{": nil,
	} {
		if key(p, text, vars) != key(p, "{{t}}", map[string]string{"t": "x"}) {
			t.Errorf("%q with %v goes as a whole text", text, vars)
		}
	}
}
