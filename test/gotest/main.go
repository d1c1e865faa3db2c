// Command gotest runs `go test -json` with the arguments it is given and prints
// what `go test` prints, then every skipped test in a box that is hard to miss.
// A skipped test proves nothing, and `go test` hides it behind an ok.
//
// With -strict a skipped test fails the run. It exits with 1 when anything
// failed, and also when nothing was run at all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	strict := flag.Bool("strict", false, "fail if a test was skipped")
	dir := flag.String("dir", ".", "`folder` of the module to test")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, *dir, flag.Args(), *strict, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, args []string, strict bool, out io.Writer) (bool, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	// An interrupt lets go test end the test programs, which a kill would leave behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	r := newReport(out)
	readErr := r.read(pipe)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) { // told by what it printed
		r.failed, err = true, nil
	}
	return r.end(strict), errors.Join(readErr, err)
}
