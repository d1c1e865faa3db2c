// Command dispatcher sends what waits in the accounts' queues.
package main

import (
	"context"
	"os"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
)

func main() {
	ctx, stop := cli.Signals(context.Background())
	code := cli.Program{
		Name: "dispatcher", Version: app.Version(), Types: app.TypeDefaults(), Env: os.LookupEnv,
		Stdout: os.Stdout, Stderr: os.Stderr, Run: app.RunDispatcher,
	}.Main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
