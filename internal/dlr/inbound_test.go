package dlr_test

import (
	"context"
	"testing"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
)

func TestInbound(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}, inbound: map[string]string{"+15000": tenant}})
	path := "/inbound/" + account + "/" + secret
	body := `{"id":"t1","from":"+254700000001","to":"15000","text":"hi"}`
	for range 2 {
		if got, answer := w.send("POST", path, body, nil); got != 200 || answer != `{"ok":"t1"}` {
			t.Fatalf("answered %d %s", got, answer)
		}
	}
	// The same message with other bytes around it is still the same message.
	w.send("POST", path, body+" ", nil)
	w.send("POST", path, `{"id":"t2","from":"+254700000001","to":"99999","text":"hi"}`, nil)
	w.send("POST", path, `rubbish`, nil)
	w.until(func() bool {
		return w.counts.of(dlr.Matched) == 1 && w.counts.of(dlr.Homeless) == 1 && w.counts.of(dlr.Repeated) == 2 && w.counts.of(dlr.Poison) == 1
	})
	if n := w.stored(bus.InboundStream); n != 1 {
		t.Fatalf("%d inbound messages", n)
	}
	var got []string
	ctx, stop := context.WithCancel(context.Background())
	_ = w.bus.Tail(ctx, bus.Tail{Stream: bus.InboundStream}, func(m *bus.Msg) { got = append(got, m.Subject, string(m.Data)) }, stop)
	if len(got) != 2 || got[0] != "sms.inbound.acme.gw" {
		t.Errorf("got %v", got)
	}
}

// Several messages of one call all reach their tenant, and what could not be read
// of it is kept beside them.
func TestSeveralInboundInOneCall(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}, inbound: map[string]string{"15000": tenant}})
	status, _ := w.send("POST", "/inbound/"+account+"/"+secret, `{"id":"t1","from":"+254700000001","to":"15000","text":"twice"}`, nil)
	if status != 200 {
		t.Fatalf("answered %d", status)
	}
	w.until(func() bool { return w.counts.of(dlr.Matched) == 2 && w.counts.of(dlr.Poison) == 1 })
	if n := w.stored(bus.InboundStream); n != 2 {
		t.Fatalf("%d inbound messages", n)
	}
}
