package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/journal"
)

// A server that comes back without the journal's end gives out places again that a
// living process has read other records in: that process would wait for its own for
// ever, and not know what others write there. It stops, and says so.
func TestJournalThatLosesItsEndStopsTheLiving(t *testing.T) {
	t.Parallel()
	dir, old := t.TempDir(), t.TempDir()
	s := start(t, "127.0.0.1:0", dir)
	addr := s.Addr().String()
	b, err := bus.Connect(bus.Options{URL: "nats://" + addr, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := errors.Join(b.WaitConnected(ctx), b.EnsureStreams(ctx, nil, []string{"a"})); err != nil {
		t.Fatal(err)
	}
	j, idle := open(t, b, "me"), open(t, b, "idle")
	write := func() error {
		_, _, err := j.Append(ctx, intent(1))
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s = start(t, addr, dir)
	for range 3 {
		if err := write(); err != nil { // a server that only restarted has lost nothing
			t.Fatal(err)
		}
	}
	s.Stop()
	start(t, addr, old)
	if err := write(); !errors.Is(err, journal.ErrShort) {
		t.Errorf("err = %v, want ErrShort", err)
	}
	if j.Full() == "" {
		t.Error("intents are still written")
	}
	for idle.Full() == "" { // it writes nothing, and looks every few seconds
		select {
		case <-ctx.Done():
			t.Fatal("a process that only reads does not notice")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := j.WriteCheckpoint(ctx); !errors.Is(err, journal.ErrShort) {
		t.Errorf("checkpoint: err = %v, want ErrShort", err)
	}
}

func start(t *testing.T, addr, dir string) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Options{Listen: addr, StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}
