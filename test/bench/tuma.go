package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
)

// allocations writes a profile of all allocations of this process.
func allocations(path string) {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return // the CPU profile, which was asked for first, is there
	}
	defer f.Close()
	_ = pprof.Lookup("allocs").WriteTo(f, 0)
}

// tuma runs one of Tuma's programs as its main does, with a CPU profile of it if
// a file is named.
func tuma(ctx context.Context, s *stage) error {
	run := map[string]func(context.Context, cli.Params) error{
		"ingest": app.RunIngest, "dispatcher": app.RunDispatcher, "dlr-collector": app.RunCollector,
	}[s.name]
	if len(s.args) != 3 {
		return errors.New("want a config, the admin address and the path of a profile, which may be empty")
	}
	if path := s.args[2]; path != "" {
		f, err := os.Create(filepath.Clean(path))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		defer allocations(path + ".allocs") // what it shows beside the CPU costs nothing while it runs
	}
	ctx, stop := context.WithCancel(ctx)
	go func() { s.end(); stop() }() // ends with the process at the latest
	code := cli.Program{
		Name: s.name, Version: "bench", Types: app.TypeDefaults(), Env: func(string) (string, bool) { return "", false },
		Stdout: os.Stdout, Stderr: os.Stderr, Run: run,
	}.Main(ctx, []string{"--config", s.args[0], "--admin", s.args[1]})
	if code != 0 {
		return fmt.Errorf("%s ended with %d", s.name, code)
	}
	return nil
}
