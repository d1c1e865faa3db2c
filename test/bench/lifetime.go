package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
)

// reporting measures the dlr-collector on messages that Tuma's dispatcher has
// sent: callbacks answered while they are being matched, and then the last one
// out as an event.
func reporting(ctx context.Context, o *options, t *table, _ int) error {
	n := o.size(100_000)
	return o.in(ctx, true, func(w *world) error {
		d, _, err := w.drain(ctx, single, n, 1)
		if err != nil {
			return err
		}
		d.stop()
		load := order{Target: w.callback, Reports: "http://" + w.gateway, Connections: 64}
		if err := w.bareReports(ctx, t, load, n); err != nil {
			return err
		}
		c, err := w.tuma(ctx, "dlr-collector")
		if err != nil {
			return err
		}
		if _, err := c.spent(); err != nil {
			return err
		}
		p, err := w.child(ctx, "posts", w.seeded(load))
		if err != nil {
			return err
		}
		began := time.Now()
		if err := p.begin(); err != nil {
			return err
		}
		r, err := p.result()
		if err != nil {
			return c.failed(err)
		}
		t.add(tumaAccepted, "reports/s", float64(n)/r.Seconds)
		if err := answered(r, http.StatusOK, n); err != nil {
			return err
		}
		within, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		if err := c.delivered(within, n); err != nil {
			return c.failed(err)
		}
		t.add(tumaEvents, "reports/s", float64(n)/time.Since(began).Seconds())
		cpu, err := c.spent()
		t.add(tumaEvents+": its CPU for 100,000", "s", cpu/float64(n)*100_000)
		return err
	})
}

func (w *world) seeded(o order) order {
	o.Seed = w.o.seed
	return o
}

// bareReports measures the same callbacks at a handler that only stores them.
func (w *world) bareReports(ctx context.Context, t *table, load order, n int) error {
	subject := bus.CallbackSubject("nobody", "dlr")
	p, err := w.child(ctx, "bare-handler", order{NATS: w.nats, Subject: subject, Listen: w.callback})
	if err != nil {
		return err
	}
	defer p.stop()
	r, err := w.load(ctx, "posts", load)
	if err != nil {
		return err
	}
	t.add(bareReports, "reports/s", float64(n)/r.Seconds)
	return answered(r, http.StatusAccepted, n)
}

// delivered waits until a program's metrics count n delivered messages.
func (p *process) delivered(ctx context.Context, n int) error {
	for pause(ctx, 50*time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", nil)
		if err != nil {
			return err
		}
		resp, err := caller().Do(req)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read to its end
		if err != nil {
			return err
		}
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			text := string(line)
			if !strings.HasPrefix(text, "tuma_messages_total{") || !strings.Contains(text, `status="delivered"`) {
				continue
			}
			if v, err := strconv.ParseFloat(text[strings.LastIndexByte(text, ' ')+1:], 64); err == nil && int(v) >= n {
				return nil
			}
		}
	}
	return fmt.Errorf("not all of %d reports came out: %w", n, ctx.Err())
}

// life measures the CPU of single messages from the submission to the last ack,
// with ingest and dispatcher at work together.
func life(ctx context.Context, o *options, t *table, _ int) error {
	n := o.size(200_000)
	for _, way := range [][2]string{{"lines", cpuLines}, {"posts", cpuPosts}} {
		role, figure := way[0], way[1]
		if err := o.in(ctx, false, func(w *world) error {
			in, err := w.tuma(ctx, "ingest")
			if err != nil {
				return err
			}
			d, err := w.tuma(ctx, "dispatcher")
			if err != nil {
				return err
			}
			if err := o.tools.granting(ctx); err != nil {
				return err
			}
			if _, err := in.spent(); err != nil {
				return err
			}
			if _, err := d.spent(); err != nil {
				return err
			}
			r, err := w.load(ctx, role, order{Target: w.ingest, Path: submitPath, Key: apiKey, N: n, Connections: 64})
			if err != nil {
				return in.failed(err)
			}
			if err := answered(r, http.StatusAccepted, n); err != nil {
				return err
			}
			if err := w.drained(ctx, bulk, lane); err != nil {
				return err
			}
			a, err := in.spent()
			if err != nil {
				return err
			}
			b, err := d.spent()
			t.add(figure, "s", (a+b)/float64(n)*100_000)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// memory measures what a backlog costs beside time. The envelopes come in over
// HTTP, so that ingest knows all of them too.
func memory(ctx context.Context, o *options, t *table, run int) error {
	if run >= 3 {
		return nil // it is long, and memory hardly varies
	}
	for _, size := range []int{10_000, 100_000, 1_000_000} {
		n := o.size(size)
		if err := o.in(ctx, false, func(w *world) error {
			if err := w.paused(ctx, bulk, true); err != nil {
				return err
			}
			in, err := w.tuma(ctx, "ingest")
			if err != nil {
				return err
			}
			r, err := w.load(ctx, "lines", order{Target: w.ingest, Path: submitPath, Key: apiKey, N: n})
			if err != nil {
				return in.failed(err)
			}
			if err := answered(r, http.StatusAccepted, n); err != nil {
				return err
			}
			if size == 1_000_000 {
				mib, err := in.peak()
				if err != nil {
					return err
				}
				t.add(rssIngest, "MiB", mib)
			}
			in.stop()
			return w.heldBy(ctx, t, size, n)
		}); err != nil {
			return err
		}
	}
	return nil
}

// heldBy measures the dispatcher on a backlog that lies there.
func (w *world) heldBy(ctx context.Context, t *table, size, n int) error {
	d, err := w.tuma(ctx, "dispatcher")
	if err != nil {
		return err
	}
	if err := w.o.tools.granting(ctx); err != nil {
		return err
	}
	seconds, err := w.release(ctx, d, bulk, n)
	if err != nil {
		return err
	}
	mib, err := d.peak()
	if err != nil {
		return err
	}
	each := seconds / float64(n) * 1000 * 1000
	switch size {
	case 10_000:
		t.add(rssSmall, "MiB", mib)
	case 100_000:
		t.add(timeSmall, "ms", each)
	default:
		t.add(rssLarge, "MiB", mib)
		t.add(timeLarge, "ms", each)
	}
	return nil
}
