package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// benchFlags are what a run is made of.
type benchFlags struct {
	messages, recipients, clients int
	prefix, from                  string
	real                          bool
	timeout                       time.Duration
}

// benchLine is one measured stage.
type benchLine struct {
	Stage    string  `json:"stage"`
	Messages int     `json:"messages"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"messages_per_second"`
	P50      float64 `json:"request_p50_ms,omitempty"`
	P99      float64 `json:"request_p99_ms,omitempty"`
}

// benchCommand measures an installation from outside. What it sends is sent: it
// asks first who would carry it, and goes no further where that is not the
// built-in simulators.
func (t *tuma) benchCommand() *cobra.Command {
	var b benchFlags
	c := t.jsonFlag(&cobra.Command{
		Use:   "bench",
		Short: "Measure how fast messages are accepted, sent and reported",
		Long: "bench hands generated messages to the API at --url and tells how fast they were\n" +
			"accepted, handed to the gateways, and reported. They are really sent: unless the\n" +
			"accounts that would carry them are the simulators of tuma up, it wants --real.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.messages < 1 || b.recipients < 1 || b.recipients > envelope.MaxRecipients || b.clients < 1 {
				return errors.New("--messages, --clients and --recipients are at least 1, and --recipients at most 10000")
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			return t.bench(cmd.Context(), c, &b)
		},
	})
	f := c.Flags()
	f.IntVar(&b.messages, "messages", 10_000, "how many messages")
	f.IntVar(&b.recipients, "recipients", 100, "recipients of each envelope")
	f.IntVar(&b.clients, "clients", 8, "requests under way at once")
	f.StringVar(&b.prefix, "prefix", "+2547", "`DIGITS` that the numbers begin with; eight follow")
	f.StringVar(&b.from, "from", "ACME", "sender id")
	f.BoolVar(&b.real, "real", false, "send through accounts that are no simulators, too: it costs money and reaches people")
	f.DurationVar(&b.timeout, "timeout", 5*time.Minute, "how long to wait for the last report")
	return c
}

func (t *tuma) bench(ctx context.Context, c *Client, b *benchFlags) error {
	if err := b.mayRun(ctx, c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, b.timeout, failed(fmt.Errorf("not all final after %s", b.timeout)))
	defer cancel()
	start := t.Now()
	ids, took, err := b.submit(ctx, c, t.Now)
	if err != nil {
		return cause(ctx, err)
	}
	slices.Sort(took)
	accepted := b.line("accepted", b.messages, t.Now().Sub(start))
	accepted.P50, accepted.P99 = ms(took[len(took)/2]), ms(took[len(took)*99/100])
	if err := t.benchLine(accepted); err != nil {
		return err
	}
	sum := map[envelope.Status]int{}
	for _, stage := range []struct {
		name string
		left func(envelope.Status) bool
	}{
		{"sent", func(s envelope.Status) bool { return s == envelope.Accepted }},
		{"reported", func(s envelope.Status) bool { return !s.Final() }},
	} {
		if sum, err = b.until(ctx, c, ids, stage.left); err != nil {
			return cause(ctx, err)
		}
		if err := t.benchLine(b.line(stage.name, b.messages, t.Now().Sub(start))); err != nil {
			return err
		}
	}
	if sum[envelope.Delivered] != b.messages {
		return failed(fmt.Errorf("not all were delivered: %v", sum))
	}
	return nil
}

// mayRun asks who would carry the messages.
func (b *benchFlags) mayRun(ctx context.Context, c *Client) error {
	a, err := c.Submit(ctx, b.envelope(0, 1), "", true, true)
	if err != nil {
		return err
	}
	for account := range a.Batches {
		if !strings.HasSuffix(account, config.DemoAccount("")) && !b.real {
			return fmt.Errorf("%s would carry the messages, which is no simulator of tuma up: --real sends them all the same", clean(account))
		}
	}
	return nil
}

func (b *benchFlags) envelope(first, n int) *envelope.Envelope {
	e := &envelope.Envelope{From: b.from, Text: "Measured by tuma bench", Ref: "tuma-bench", Recipients: make([]envelope.Recipient, n)}
	for i := range e.Recipients {
		e.Recipients[i].To = fmt.Sprintf("%s%08d", b.prefix, first+i)
	}
	return e
}

// submit hands all messages over, and returns the envelopes and how long each
// request took.
func (b *benchFlags) submit(ctx context.Context, c *Client, now func() time.Time) (ids []string, took []time.Duration, err error) {
	work := make(chan int)
	var mu sync.Mutex
	var running sync.WaitGroup
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for range b.clients {
		running.Go(func() {
			for first := range work {
				n, began := min(b.recipients, b.messages-first), now()
				a, err := c.Submit(ctx, b.envelope(first, n), "", false, true)
				if err == nil && a.Rejected > 0 {
					err = failed(fmt.Errorf("refused %d: %s", a.Rejected, reason(a.Errors[0].Code, a.Errors[0].Detail)))
				}
				if err != nil {
					stop(err)
					continue
				}
				mu.Lock()
				ids, took = append(ids, a.ID), append(took, now().Sub(began))
				mu.Unlock()
			}
		})
	}
	for first := 0; first < b.messages && ctx.Err() == nil; first += b.recipients {
		select {
		case work <- first:
		case <-ctx.Done():
		}
	}
	close(work)
	running.Wait()
	return ids, took, context.Cause(ctx)
}

// until waits until no message has a status that counts as left, and returns how
// many have which.
func (b *benchFlags) until(ctx context.Context, c *Client, ids []string, left func(envelope.Status) bool) (map[envelope.Status]int, error) {
	var waited time.Duration
	for pause := 50 * time.Millisecond; ; pause = min(pause*3/2, time.Second) {
		sum, open := map[envelope.Status]int{}, false
		for _, id := range ids {
			var e envelopeStatus
			if err := c.call(ctx, "GET", "/v1/envelopes/"+id, nil, nil, &e); err != nil && !again(err, waited) {
				return nil, err
			} else if err != nil {
				open = true
			}
			for s, n := range e.Counts {
				sum[s] += n
				open = open || left(s)
			}
		}
		if !open {
			return sum, nil
		}
		waited += pause
		if err := c.wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func (b *benchFlags) line(stage string, n int, d time.Duration) benchLine {
	return benchLine{Stage: stage, Messages: n, Seconds: d.Seconds(), Rate: float64(n) / max(d.Seconds(), 1e-9)}
}

func (t *tuma) benchLine(l benchLine) error {
	if t.json {
		return t.line(l)
	}
	t.printf("%-9s %d messages in %.2f s, %.0f/s", l.Stage, l.Messages, l.Seconds, l.Rate)
	if l.P50 > 0 {
		t.printf(" (a request: p50 %.1f ms, p99 %.1f ms)", l.P50, l.P99)
	}
	t.printf("\n")
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
