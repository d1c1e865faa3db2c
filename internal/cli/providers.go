package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// providerStatus is one account of GET /v1/providers. What only operators see is
// absent for others.
type providerStatus struct {
	Name      string         `json:"name"`
	Type      string         `json:"type"`
	Up        bool           `json:"up"`
	Paused    bool           `json:"paused"`
	Breaker   string         `json:"breaker"`
	Backlog   map[string]int `json:"backlog"`
	RateUsed  *float64       `json:"rate_used"`
	LastError string         `json:"last_error"`
	Balance   string         `json:"balance"`
}

func (t *tuma) providersCommand() *cobra.Command {
	c := t.jsonFlag(&cobra.Command{
		Use:   "providers",
		Short: "List the accounts and how they are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/providers", nil, nil, &raw); err != nil {
				return err
			}
			return failed(t.tellProviders(raw))
		},
	})
	for verb, short := range map[string]string{
		"pause":  "Stop sending through an account, across the cluster",
		"resume": "Send through an account again",
	} {
		c.AddCommand(&cobra.Command{
			Use:   verb + " NAME",
			Short: short,
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				c, err := t.client()
				if err != nil {
					return err
				}
				if err := c.call(cmd.Context(), http.MethodPost, "/v1/providers/"+url.PathEscape(args[0])+"/"+verb, nil, nil, nil); err != nil {
					return err
				}
				t.printf("%s %sd\n", clean(args[0]), verb)
				return nil
			},
		})
	}
	return c
}

func (t *tuma) tellProviders(raw json.RawMessage) error {
	if t.json {
		t.printf("%s\n", strings.TrimSpace(cleanJSON(raw)))
		return nil
	}
	var list struct {
		Providers []providerStatus `json:"providers"`
	}
	var err error
	if strings.HasPrefix(strings.TrimSpace(string(raw)), "[") {
		err = json.Unmarshal(raw, &list.Providers)
	} else {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tTYPE\tSTATE\tWAITING\tRATE\tBALANCE\tLAST ERROR")
	for _, p := range list.Providers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(p.Name), clean(p.Type), p.state(), p.backlog(), p.rate(), clean(p.Balance), clean(p.LastError))
	}
	return w.Flush()
}

func (p *providerStatus) state() string {
	switch {
	case p.Paused:
		return "paused"
	case p.Breaker != "" && p.Breaker != "closed":
		return clean("breaker " + p.Breaker)
	case p.Up:
		return "up"
	}
	return "down"
}

func (p *providerStatus) backlog() string {
	var parts []string
	for _, prio := range envelope.Priorities {
		if n := p.Backlog[string(prio)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", prio, n))
		}
	}
	return strings.Join(parts, ", ")
}

func (p *providerStatus) rate() string {
	if p.RateUsed == nil {
		return ""
	}
	return fmt.Sprintf("%.0f%%", *p.RateUsed*100)
}
