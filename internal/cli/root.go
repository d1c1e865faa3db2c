// Package cli is the tuma command, and the start of every program: flags,
// config, exit codes. What the commands run is passed in.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tuma-sms/tuma/internal/config"
)

// Exit codes of every program.
const (
	exitOK     = 0
	exitFailed = 1 // some refused, failed or unreachable
	exitUsage  = 2 // a wrong flag or config
)

// Deps is what the commands work with.
type Deps struct {
	Version string
	Types   map[string]config.TypeDefaults
	Env     config.Lookup
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Now     func() time.Time // nil: time.Now

	// Default returns the config of up and check without a file.
	Default func() (*config.Config, error)
	// Up runs everything in this process until ctx ends. Nil: no such command.
	Up func(ctx context.Context, p Params) error
	// Simulate answers as the providers at listen until ctx ends. Nil: no such command.
	Simulate func(ctx context.Context, p Params, listen string) error
	// Check looks at the config and everything it names. Nil: no such command.
	Check func(ctx context.Context, p Params) ([]Finding, error)
}

// Defaults of --url and --key: what tuma up serves without a config.
const (
	defaultURL = "http://127.0.0.1:8080"
	defaultKey = config.DemoKey
)

// Main runs the tuma command and returns its exit code.
func Main(ctx context.Context, args []string, d Deps) int { return execute(ctx, args, d, sleep) }

// execute is Main with the clock of waits; tests pass one that does not wait.
func execute(ctx context.Context, args []string, d Deps, wait waitFunc) int {
	if d.Now == nil {
		d.Now = time.Now
	}
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	out := &output{w: d.Stdout, broken: broken}
	t := &tuma{Deps: d, wait: wait, raw: d.Stdout}
	t.Stdout = out
	root := t.root()
	root.SetArgs(twoDashes(root, args))
	root.SetIn(d.Stdin)
	root.SetOut(out)
	root.SetErr(d.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	err = out.ended(err)
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errTold) {
		fmt.Fprintf(d.Stderr, "%s: %s\n", cmd.CommandPath(), oneLine(err))
	}
	return exitCode(err)
}

// tuma is one run of the command.
type tuma struct {
	Deps
	url, key string
	json     bool
	wait     waitFunc
	raw      io.Writer // standard output of programs that serve on when nobody reads it
}

// waitFunc waits for d or until ctx ends.
type waitFunc func(ctx context.Context, d time.Duration) error

func (t *tuma) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tuma",
		Short: "Send bulk SMS through many gateways, once each",
		Long: "Tuma takes SMS over HTTP and NATS, sends them through the gateways you have,\n" +
			"and tells what became of each. Begin with: tuma up",
		Version:       t.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("tuma {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", err, c.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&t.url, "url", t.env("TUMA_URL", defaultURL), "address of the API (env TUMA_URL)")
	f.StringVar(&t.key, "key", "", "API key (env TUMA_KEY; default demo)")
	root.AddCommand(t.sendCommand(), t.statusCommand(), t.watchCommand(), t.deadCommand(), t.providersCommand(), t.askCommand(), t.optOutCommand(), t.keyCommand(), t.benchCommand())
	for _, c := range []*cobra.Command{t.upCommand(), t.simulateCommand(), t.checkCommand()} {
		if c != nil {
			root.AddCommand(c)
		}
	}
	return root
}

func (t *tuma) env(name, fallback string) string {
	if t.Env != nil {
		if v, ok := t.Env(name); ok && v != "" {
			return v
		}
	}
	return fallback
}

// client is made late, so that a command without the API needs neither.
func (t *tuma) client() (*Client, error) {
	key := t.key
	if key == "" { // not the flag's default: --help would print the key
		key = t.env("TUMA_KEY", defaultKey)
	}
	c, err := NewClient(t.url, key)
	if err == nil {
		c.wait = t.wait
	}
	return c, err
}

// jsonFlag gives a command --json.
func (t *tuma) jsonFlag(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&t.json, "json", false, "print JSON, for scripts")
	return c
}

func (t *tuma) printf(format string, args ...any) { fmt.Fprintf(t.Stdout, format, args...) }

// errTold is a failure that the command has printed already.
var errTold = errors.New("some failed")

// failure is an error of doing, not of asking: exit code 1.
type failure struct{ err error }

// Error returns the cause's words.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

func failed(err error) error {
	if err == nil {
		return nil
	}
	return &failure{err}
}

// exitCode maps an error: an own ExitCode wins, a wrong config is 2, what a
// command tried and could not do is 1, and what is left is wrong usage.
func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	var cfg *config.Error
	var api *APIError
	var gone *UnreachableError
	var fail *failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.ExitCode()
	case errors.As(err, &cfg):
		return exitUsage
	case errors.Is(err, errTold), errors.As(err, &fail), errors.As(err, &api), errors.As(err, &gone), errors.Is(err, context.Canceled):
		return exitFailed
	}
	return exitUsage
}

func oneLine(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return clean(err.Error())
}

// isTerminal reports whether w is a terminal that a person looks at.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
