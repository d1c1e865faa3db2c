package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/tuma-sms/tuma/internal/config"
)

// Params is what a program runs with.
type Params struct {
	Name    string
	Version string
	Config  *config.Config
	Admin   string // address of --admin; empty: the config's
	Env     config.Lookup
	Stdout  io.Writer
	Stderr  io.Writer // logs go here
}

// AdminListen returns where the program answers for its health: --admin, else
// admin.listen.
func (p Params) AdminListen() (string, error) {
	if p.Admin != "" {
		return p.Admin, nil
	}
	return p.Config.Admin.Listen.Resolve()
}

// Program is one of the processes that scale out: ingest, dispatcher, dlr-collector.
type Program struct {
	Name    string
	Version string
	Types   map[string]config.TypeDefaults
	Env     config.Lookup
	Stdout  io.Writer
	Stderr  io.Writer
	// Run runs until ctx ends, then drains and returns nil. An error with a method
	// ExitCode() int ends the process with that code, any other with 1.
	Run func(ctx context.Context, p Params) error
}

// Main parses args, loads the config and runs the program. It returns the exit
// code: 0 after a clean stop, 2 for a wrong flag or config, 1 for a failure.
func (g Program) Main(ctx context.Context, args []string) int {
	err := g.main(ctx, args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	fmt.Fprintf(g.Stderr, "%s: %s\n", g.Name, clean(err.Error()))
	return exitCode(err)
}

func (g Program) main(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(g.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // one line of ours, not the usage
	file := flags.String("config", "", "config `FILE` (env TUMA_CONFIG)")
	admin := flags.String("admin", "", "`ADDR` of /healthz, /readyz and /metrics, instead of admin.listen")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(g.Stdout, "Usage: %s [flags]\n", g.Name)
			flags.VisitAll(func(f *flag.Flag) {
				value, usage := flag.UnquoteUsage(f)
				fmt.Fprintf(g.Stdout, "  %-16s %s\n", strings.TrimSpace("--"+f.Name+" "+value), usage)
			})
			return err
		}
		return fmt.Errorf("%w (see %s --help)", err, g.Name)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if *version {
		fmt.Fprintf(g.Stdout, "%s %s\n", g.Name, g.Version)
		return nil
	}
	cfg, err := loadConfig(*file, g.Types, g.Env)
	if err != nil {
		return err
	}
	if cfg == nil {
		return errors.New("no config: give --config FILE or set TUMA_CONFIG")
	}
	if err := cfg.Distributed(); err != nil {
		return err
	}
	p := Params{Name: g.Name, Version: g.Version, Config: cfg, Admin: *admin, Env: g.Env, Stdout: g.Stdout, Stderr: g.Stderr}
	return stopped(ctx, g.Run(ctx, p))
}

// loadConfig reads the file that the flag or TUMA_CONFIG names; nil without one.
func loadConfig(file string, types map[string]config.TypeDefaults, env config.Lookup) (*config.Config, error) {
	if file == "" && env != nil {
		file, _ = env("TUMA_CONFIG")
	}
	if file == "" {
		return nil, nil
	}
	return config.Load(file, types, env)
}

// stopped makes an order to stop a clean end, and anything else a failure.
func stopped(ctx context.Context, err error) error {
	if err == nil || (ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return nil
	}
	return failed(err)
}
