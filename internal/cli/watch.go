package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// watchCommand follows GET /v1/events, a stream of server-sent events: one event
// of the tenant each, with id the event's, event its status and data its JSON.
// Comments keep the connection alive; Last-Event-ID goes on where one broke off.
func (t *tuma) watchCommand() *cobra.Command {
	var statuses []string
	c := t.jsonFlag(&cobra.Command{
		Use:   "watch",
		Short: "Show what happens, as it happens",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			return stopped(cmd.Context(), t.watch(cmd.Context(), c, statuses))
		},
	})
	c.Flags().StringSliceVar(&statuses, "status", nil, "of these `STATUSES` only, separated by commas")
	return c
}

// silence is how long a stream may say nothing, comments included, before it
// counts as broken; the server comments every 15 s.
const silence = 45 * time.Second

func (t *tuma) watch(ctx context.Context, c *Client, statuses []string) error {
	path := "/v1/events"
	if len(statuses) > 0 {
		path += "?" + url.Values{"status": {strings.Join(statuses, ",")}}.Encode()
	}
	last := ""
	began := false
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		err := c.stream(ctx, path, last, func(e sse) error {
			began, pause = true, time.Second
			if e.id != "" {
				last = e.id
			}
			return t.tellEvent(e, statuses)
		}, func() { began = true })
		var api *APIError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &api) && api.Status < 500 && api.Status != http.StatusTooManyRequests:
			return err
		case !began: // the first attempt: a wrong --url is told at once
			return err
		}
		fmt.Fprintln(t.Stderr, "the stream broke off; connecting again")
		if err := c.wait(ctx, pause); err != nil {
			return err
		}
	}
}

// sse is one server-sent event.
type sse struct{ id, event, data string }

// stream reads events until the stream ends, and never returns nil.
func (c *Client) stream(ctx context.Context, path, last string, each func(sse) error, opened func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	h := http.Header{"Accept": {"text/event-stream"}}
	if last != "" {
		h.Set("Last-Event-ID", last)
	}
	resp, err := c.open(ctx, http.MethodGet, path, h, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		return &APIError{Status: http.StatusNotFound, Code: "no_events", Detail: c.where() + " has no stream of events"}
	}
	opened()
	lines := bufio.NewScanner(&touching{resp.Body, func() { quiet.Reset(silence) }})
	lines.Buffer(make([]byte, 64<<10), 8<<20) // an event of 1,000 messages is some 300 kB
	return readEvents(lines, each)
}

// touching calls touch whenever something arrives.
type touching struct {
	io.Reader
	touch func()
}

// Read implements io.Reader.
func (r *touching) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.touch()
	}
	return n, err
}

func readEvents(lines *bufio.Scanner, each func(sse) error) error {
	var e sse
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if e.data != "" {
				if err := each(e); err != nil {
					return err
				}
			}
			e = sse{}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			if e.data != "" {
				e.data += "\n"
			}
			e.data += value
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

func (t *tuma) tellEvent(e sse, statuses []string) error {
	var ev envelope.Event
	if err := json.Unmarshal([]byte(e.data), &ev); err != nil {
		return nil // of a later version: what is not understood is passed over
	}
	if len(statuses) > 0 && !slices.Contains(statuses, string(ev.Status)) {
		return nil
	}
	if t.json {
		t.printf("%s\n", cleanJSON([]byte(e.data)))
		return nil
	}
	for i := range ev.Messages {
		m := &ev.Messages[i]
		rest := []string{ev.Provider, m.ID, ev.Detail}
		if m.Error != nil {
			rest = append(rest, reason(m.Error.Code, strings.TrimSpace(m.Error.ProviderCode+" "+m.Error.Detail)))
		}
		rest = slices.DeleteFunc(rest, func(s string) bool { return s == "" })
		t.printf("%s  %-11s  %-16s %s\n", ev.Time.Local().Format("15:04:05.000"), clean(string(ev.Status)), clean(m.To), clean(strings.Join(rest, "  ")))
	}
	return nil
}
