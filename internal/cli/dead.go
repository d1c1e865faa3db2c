package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// deadItem is one dead letter of GET /v1/dead.
type deadItem struct {
	ID       string               `json:"id"`
	Time     time.Time            `json:"time"`
	Account  string               `json:"account"`
	Reason   string               `json:"reason"`
	Tenant   string               `json:"tenant"`
	Messages int                  `json:"messages"`
	Settled  int                  `json:"settled"`
	Error    *envelope.EventError `json:"error"`
}

// deadPage is the answer to GET /v1/dead; Next is the cursor of the next page.
type deadPage struct {
	Dead []json.RawMessage `json:"dead"`
	Next string            `json:"next"`
}

// deadCommand speaks the routes for operators: GET /v1/dead, GET and DELETE
// /v1/dead/{id}, POST /v1/dead/{id}/replay.
func (t *tuma) deadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead",
		Short: "Dead letters: what Tuma gave up on (operators)",
		Args:  cobra.NoArgs,
		RunE:  helpOnly,
	}
	c.AddCommand(t.deadList(), t.deadShow(), t.deadReplay(), t.deadDrop())
	return c
}

func (t *tuma) deadList() *cobra.Command {
	var account, why string
	var limit int
	var settled bool
	c := t.jsonFlag(&cobra.Command{
		Use:   "list",
		Short: "List dead letters, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"", "refused", "uncertain", "poison"}, why) {
				return errors.New("--reason is refused, uncertain or poison")
			}
			if limit < 1 {
				return errors.New("--limit is 1 or more")
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			q := url.Values{}
			for k, v := range map[string]string{"account": account, "reason": why} {
				if v != "" {
					q.Set(k, v)
				}
			}
			if settled {
				q.Set("settled", "true")
			}
			return t.tellDead(cmd.Context(), c, q, limit)
		},
	})
	c.Flags().StringVar(&account, "account", "", "of this `ACCOUNT` only; none: before routing")
	c.Flags().StringVar(&why, "reason", "", "refused, uncertain or poison only")
	c.Flags().BoolVar(&settled, "settled", false, "also letters all of whose messages were sent after all")
	c.Flags().IntVar(&limit, "limit", 100, "how many at most")
	return c
}

// tellDead prints letters page by page, limit at most, so that it keeps no more than
// one.
func (t *tuma) tellDead(ctx context.Context, c *Client, q url.Values, limit int) error {
	header := !t.json
	for left := limit; ; {
		q.Set("limit", strconv.Itoa(min(left, 1000)))
		var page deadPage
		if err := c.call(ctx, http.MethodGet, "/v1/dead?"+q.Encode(), nil, nil, &page); err != nil {
			return err
		}
		if err := t.tellDeadPage(page.Dead, header); err != nil {
			return failed(err)
		}
		left -= len(page.Dead)
		if page.Next != "" && left <= 0 && !t.json {
			fmt.Fprintln(t.Stderr, "there are more; see --limit")
		}
		if page.Next == "" || left <= 0 || len(page.Dead) == 0 || ctx.Err() != nil {
			return nil
		}
		header = false
		q.Set("cursor", page.Next)
	}
}

func (t *tuma) tellDeadPage(items []json.RawMessage, header bool) error {
	if t.json {
		for _, raw := range items {
			t.printf("%s\n", strings.TrimSpace(cleanJSON(raw)))
		}
		return nil
	}
	w := tabwriter.NewWriter(t.Stdout, 0, 0, 2, ' ', 0)
	if header {
		fmt.Fprintln(w, "ID\tTIME\tREASON\tACCOUNT\tTENANT\tMESSAGES\tERROR")
	}
	for _, raw := range items {
		var d deadItem
		if err := json.Unmarshal(raw, &d); err != nil {
			return err
		}
		why := ""
		if d.Error != nil {
			why = reason(d.Error.Code, strings.TrimSpace(d.Error.ProviderCode+" "+d.Error.Detail))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(d.ID), d.Time.Local().Format(time.DateTime),
			clean(d.Reason), clean(d.Account), clean(d.Tenant), d.size(), why)
	}
	return w.Flush()
}

// size is how many messages a letter has, and how many of them need nothing more.
func (d *deadItem) size() string {
	if d.Settled == 0 {
		return strconv.Itoa(d.Messages)
	}
	return fmt.Sprintf("%d (%d sent)", d.Messages, d.Settled)
}

func (t *tuma) deadShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Print a dead letter with all that is kept of it, as JSON",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := c.call(cmd.Context(), http.MethodGet, deadPath(args[0]), nil, nil, &raw); err != nil {
				return err
			}
			var b bytes.Buffer
			if err := json.Indent(&b, raw, "", "  "); err != nil {
				return failed(err)
			}
			t.printf("%s\n", strings.TrimSpace(cleanJSON(b.Bytes())))
			return nil
		},
	}
}

func (t *tuma) deadReplay() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "replay ID...",
		Short: "Send dead letters again, as new messages",
		Long:  "replay submits the messages of dead letters again; each gets a new id and replay_of.\nWhat may have been sent (reason uncertain) is only replayed with --force, since it\ncould arrive twice. What reports have since said was sent is never sent again.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.each(cmd.Context(), args, func(c *Client, id string) error {
				path := deadPath(id) + "/replay"
				if force {
					path += "?force=true"
				}
				var a struct {
					ID       string                  `json:"id"`
					Messages int                     `json:"messages"`
					Skipped  map[envelope.Status]int `json:"skipped"`
				}
				err := c.call(cmd.Context(), http.MethodPost, path, nil, nil, &a)
				if err == nil {
					as := ""
					if a.Messages > 0 {
						as = " as " + clean(a.ID)
					}
					t.printf("%s replayed%s (%s%s)\n", clean(id), as, plural(a.Messages, "message"), skipped(a.Skipped))
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also what may have been sent already")
	return c
}

// skipped says which messages were not sent again, and why.
func skipped(by map[envelope.Status]int) string {
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(by)) {
		fmt.Fprintf(&b, "; %d skipped: %s meanwhile", by[s], clean(string(s)))
	}
	return b.String()
}

func (t *tuma) deadDrop() *cobra.Command {
	return &cobra.Command{
		Use:   "drop ID...",
		Short: "Forget dead letters",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.each(cmd.Context(), args, func(c *Client, id string) error {
				err := c.call(cmd.Context(), http.MethodDelete, deadPath(id), nil, nil, nil)
				if err == nil {
					t.printf("%s dropped\n", clean(id))
				}
				return err
			})
		},
	}
}

func deadPath(id string) string { return "/v1/dead/" + url.PathEscape(id) }

// each does something to every id, whatever becomes of the others, and ends at
// once where the server does not answer.
func (t *tuma) each(ctx context.Context, ids []string, do func(c *Client, id string) error) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	var last error
	for _, id := range ids {
		err := do(c, id)
		var api *APIError
		if err != nil && !errors.As(err, &api) {
			return err
		}
		if err != nil {
			fmt.Fprintf(t.Stderr, "%s: %s\n", clean(id), clean(err.Error()))
			last = errTold
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return last
}
