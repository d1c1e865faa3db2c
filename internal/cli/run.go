package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tuma-sms/tuma/internal/config"
)

// runFlags are those of the commands that read a config.
type runFlags struct{ config, admin string }

func (r *runFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&r.config, "config", "", "config `FILE` (env TUMA_CONFIG)")
	c.Flags().StringVar(&r.admin, "admin", "", "`ADDR` of /healthz, /readyz and /metrics, instead of admin.listen")
}

// params loads the config, the built-in one without a file.
func (t *tuma) params(r *runFlags) (Params, error) {
	cfg, err := loadConfig(r.config, t.Types, t.Env)
	if err == nil && cfg == nil && t.Default != nil {
		cfg, err = t.Default()
	}
	if err == nil && cfg == nil {
		cfg, err = config.Parse("", nil, t.Types, t.Env)
	}
	return Params{
		Name: "tuma", Version: t.Version, Config: cfg, Admin: r.admin, Env: t.Env, Stdout: t.raw, Stderr: t.Stderr,
	}, err
}

func (t *tuma) upCommand() *cobra.Command {
	if t.Up == nil {
		return nil
	}
	var r runFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process",
		Long: "up runs ingest, dispatcher and dlr-collector in one process. Without a config it\n" +
			"brings its own NATS server and Redis, simulators of all five gateways and the\n" +
			"tenant demo with the API key demo, on loopback only.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := t.params(&r)
			if err != nil {
				return err
			}
			return stopped(cmd.Context(), t.Up(cmd.Context(), p))
		},
	}
	r.add(c)
	return c
}

func (t *tuma) simulateCommand() *cobra.Command {
	if t.Simulate == nil {
		return nil
	}
	var listen string
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Answer in the gateways' place, for tests",
		Long:  "simulate answers as all five gateways do, and sends their delivery reports.\nPoint an account's base_url at it; nothing is sent to anyone.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := Params{Name: "tuma", Version: t.Version, Env: t.Env, Stdout: t.raw, Stderr: t.Stderr}
			return stopped(cmd.Context(), t.Simulate(cmd.Context(), p, listen))
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8090", "`ADDR` to answer on")
	return c
}

// Finding is one thing that tuma check looked at.
type Finding struct {
	Level  Level  `json:"level"`
	What   string `json:"what"`             // e.g. nats, providers.cloudrebue-ke
	Detail string `json:"detail,omitempty"` // what was found, and what to do
}

// Level says how bad a Finding is.
type Level string

// The levels. Only Broken makes tuma check exit with 1: a promise does not hold.
const (
	Fine    Level = "ok"
	Warning Level = "warn"
	Broken  Level = "FAIL"
)

func (t *tuma) checkCommand() *cobra.Command {
	if t.Check == nil {
		return nil
	}
	var r runFlags
	var show bool
	c := t.jsonFlag(&cobra.Command{
		Use:   "check",
		Short: "Look at the config and at everything it names",
		Long:  "check reads the config, connects to what it names and tells which promises do not\nhold. It exits with 1 if one does not, with 2 if the config is wrong.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := t.params(&r)
			if err != nil {
				return err
			}
			if show {
				if err := p.Config.WriteEffective(t.Stdout); err != nil {
					return failed(err)
				}
			}
			findings, err := t.Check(cmd.Context(), p)
			if err != nil {
				return failed(err)
			}
			return t.tell(findings)
		},
	})
	r.add(c)
	c.Flags().BoolVar(&show, "print", false, "print the config in effect first, secrets hidden")
	return c
}

func (t *tuma) tell(findings []Finding) error {
	broken := 0
	for _, f := range findings {
		if f.Level == Broken {
			broken++
		}
		if t.json {
			b, err := json.Marshal(f)
			if err != nil {
				return failed(err)
			}
			t.printf("%s\n", cleanJSON(b))
			continue
		}
		t.printf("%s\n", strings.TrimRight(fmt.Sprintf("%-5s %-28s %s", f.Level, clean(f.What), clean(f.Detail)), " "))
	}
	if broken > 0 {
		return errTold
	}
	return nil
}
