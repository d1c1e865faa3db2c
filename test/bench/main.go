package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// start is the bench itself, or one of its children.
func start(ctx context.Context, args []string) error {
	if len(args) > 1 && args[0] == childFlag {
		return runChild(ctx, args[1], args[2:])
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.scale, "scale", 1, "divide every size by `N`; above 1 the figures mean nothing")
	flags.IntVar(&o.runs, "runs", 5, "`N` interleaved runs of each")
	only := flags.String("only", "", "scenarios whose name matches `REGEXP`")
	flags.StringVar(&o.profile, "profile", "", "write profiles of CPU and allocations of Tuma's programs into `DIR`")
	flags.Uint64Var(&o.seed, "seed", 1, "of numbers, ids and traces")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	return o.run(ctx, chosen)
}

type options struct {
	scale, runs int
	profile     string
	delay       time.Duration // of the gateway's answers
	seed        uint64
	tools       *tools
}

// size is a number of messages at this scale, in whole thousands.
func (o *options) size(n int) int { return max(1000, n/o.scale/1000*1000) }

func (o *options) run(ctx context.Context, chosen *regexp.Regexp) (err error) {
	o.tools, err = newTools(ctx)
	if o.tools != nil {
		defer o.tools.remove()
	}
	if err != nil {
		return err
	}
	t := &table{}
	err = o.measure(ctx, t, chosen) // what was measured before is worth telling all the same
	fmt.Printf("%d cores, %s, nats-server and redis-server on the same cores; %d interleaved runs; sizes 1/%d; seed %d\n\n",
		runtime.NumCPU(), runtime.Version(), o.runs, o.scale, o.seed)
	t.print(os.Stdout, targets())
	return err
}

// measure runs the chosen scenarios into t.
func (o *options) measure(ctx context.Context, t *table, chosen *regexp.Regexp) error {
	for _, s := range scenarios() {
		if !chosen.MatchString(s.name) {
			continue
		}
		began := time.Now()
		for i := range o.runs {
			if err := s.run(ctx, o, t, i); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Fprintf(os.Stderr, "%-12s run %d of %d, load %s, %s\n", s.name, i+1, o.runs, load(), time.Since(began).Round(time.Second))
		}
	}
	return nil
}

// load is what the machine does beside: a figure well above the number of cores
// between runs is somebody else.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(data), " ")
	return one
}
