// Command tuma runs everything in one process (tuma up) and is the operator's
// tool: tuma --help.
package main

import (
	"context"
	"os"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
)

func main() {
	ctx, stop := cli.Signals(context.Background())
	code := cli.Main(ctx, os.Args[1:], cli.Deps{
		Version: app.Version(), Types: app.TypeDefaults(), Env: os.LookupEnv,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Default: func() (*config.Config, error) { return app.Default(os.LookupEnv) },
		Up:      app.RunUp, Simulate: app.RunSimulate, Check: app.Check,
	})
	stop()
	os.Exit(code)
}
