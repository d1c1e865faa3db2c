package app

import (
	"io"
	"slices"
	"testing"

	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

// Parts are stopped in reverse: what others go by outlives them.
func TestPartsStopAfterWhoNeedsThem(t *testing.T) {
	t.Parallel()
	env := func(string) (string, bool) { return "", false }
	cfg, err := Default(env)
	if err != nil {
		t.Fatal(err)
	}
	free := config.NewText("127.0.0.1:0")
	cfg.Ingest.Listen, cfg.DLRCollector.Listen, cfg.Admin.Listen = free, free, free
	k, err := newKit(t.Context(), cli.Params{Name: "tuma", Config: cfg, Env: env, Stdout: io.Discard, Stderr: io.Discard}, natstest.Server(t), "127.0.0.1:1", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.bus.Close()
		_ = k.redis.Close()
	})
	if err := k.stages(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := func(name string) int {
		i := slices.IndexFunc(k.parts, func(p service.Part) bool { return p.Name == name })
		if i < 0 {
			t.Errorf("there is no part %s", name)
		}
		return i
	}
	for _, c := range [][2]string{
		{"statuses", "reports"}, {"statuses", "callbacks"}, {"statuses", "hop"}, {"statuses", "api"}, {"journal", "statuses"},
		{"journal", "dispatch"}, {"reports", "callbacks"}, {"hop", "api"}, {"opt-outs", "api"}, {"streams", "journal"},
	} {
		if at(c[0]) > at(c[1]) {
			t.Errorf("%s is stopped before %s", c[0], c[1])
		}
	}
}
