package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// childFlag is the first argument of a child of the bench.
const childFlag = "-child"

// child is a role that this binary plays in a process of its own. It calls
// ready once it could begin, and begin blocks until it may.
type child func(ctx context.Context, s *stage) error

func children() map[string]child {
	return map[string]child{
		"gateway":       serveGateway,
		"raw-consume":   rawConsume,
		"naive":         naive,
		"naive-batch":   naiveBatch,
		"raw-publish":   rawPublish,
		"bare-handler":  bareHandler,
		"lines":         sendLines,
		"posts":         sendPosts,
		"ingest":        tuma,
		"dispatcher":    tuma,
		"dlr-collector": tuma,
	}
}

// stage is a child's view of the bench: its order, and a line each way.
type stage struct {
	name  string
	order order
	args  []string
	lines *bufio.Scanner
}

// order is what a child is told; each reads what concerns it.
type order struct {
	NATS, Target, Path  string // Target: host:port of who is called; Path of the request
	Stream, Subject     string
	N, Connections      int
	Seed                uint64
	Reports             string // base URL of the gateway that tells what to report
	Spread              int    // how many messages later a report may come than it would in order; 0: in any order
	Listen, Key         string
	Record, KeepTraffic bool
	Delay               time.Duration // before the gateway answers a request with messages
}

// result is what a child measured.
type result struct {
	Seconds float64
	Status  map[int]int // of answers
}

func runChild(ctx context.Context, name string, args []string) error {
	play, ok := children()[name]
	if !ok {
		return fmt.Errorf("no child %q", name)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &stage{name: name, args: args, lines: bufio.NewScanner(os.Stdin)}
	if len(args) == 1 {
		if err := json.Unmarshal([]byte(args[0]), &s.order); err != nil {
			return err
		}
	}
	return play(ctx, s)
}

// ready tells that the child could begin.
func (s *stage) ready() { fmt.Println("ready") }

// begin blocks until the bench says so.
func (s *stage) begin() error {
	if !s.lines.Scan() {
		return errors.New("the bench has gone")
	}
	return nil
}

// end blocks until the bench says so or has gone.
func (s *stage) end() { s.lines.Scan() }

func (s *stage) tell(r result) error { return json.NewEncoder(os.Stdout).Encode(r) }

// drain reads what is of no interest.
func drain(r io.Reader) { _, _ = io.Copy(io.Discard, r) } // a body's end says nothing here
