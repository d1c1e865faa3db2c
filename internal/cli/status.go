package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// messageStatus is what GET /v1/messages/{id} answers.
type messageStatus struct {
	ID         string               `json:"id"`
	EnvelopeID string               `json:"envelope_id"`
	To         string               `json:"to"`
	Status     envelope.Status      `json:"status"`
	Provider   string               `json:"provider"`
	ProviderID string               `json:"provider_message_id"`
	Segments   int                  `json:"segments"`
	Attempts   int                  `json:"attempts"`
	Cost       string               `json:"cost"`
	Operator   string               `json:"operator"`
	Error      *envelope.EventError `json:"error"`
	Ref        string               `json:"ref"`
	TraceID    string               `json:"trace_id"`
	ReplayOf   string               `json:"replay_of"`
	History    []struct {
		Status   envelope.Status `json:"status"`
		Time     time.Time       `json:"time"`
		Provider string          `json:"provider"`
		Detail   string          `json:"detail"`
	} `json:"history"`
	Waiting *struct {
		Reason string     `json:"reason"`
		Until  *time.Time `json:"until"`
	} `json:"waiting"`
}

// envelopeStatus is what GET /v1/envelopes/{id} answers.
type envelopeStatus struct {
	ID       string                  `json:"id"`
	Messages int                     `json:"messages"`
	Counts   map[envelope.Status]int `json:"counts"`
	Ref      string                  `json:"ref"`
	TraceID  string                  `json:"trace_id"`
}

func (t *tuma) statusCommand() *cobra.Command {
	return t.jsonFlag(&cobra.Command{
		Use:   "status ID",
		Short: "Tell what became of a message or an envelope",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			kind := "envelopes"
			if _, _, ok := envelope.SplitMessageID(args[0]); ok {
				kind = "messages"
			}
			var raw json.RawMessage
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/"+kind+"/"+url.PathEscape(args[0]), nil, nil, &raw); err != nil {
				return notFound(err, args[0])
			}
			return failed(t.tellStatus(kind, raw))
		},
	})
}

// notFound says which id is meant: a 404 alone does not.
func notFound(err error, id string) error {
	var api *APIError
	if errors.As(err, &api) && api.Status == http.StatusNotFound {
		return failed(fmt.Errorf("%s is not known (statuses are kept for 72 h)", clean(id)))
	}
	return err
}

func (t *tuma) tellStatus(kind string, raw json.RawMessage) error {
	if t.json {
		t.printf("%s\n", strings.TrimSpace(cleanJSON(raw)))
		return nil
	}
	if kind == "envelopes" {
		var e envelopeStatus
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		t.printf("envelope  %s\nmessages  %d\n", clean(e.ID), e.Messages)
		for _, s := range slices.Sorted(maps.Keys(e.Counts)) {
			t.printf("  %-12s %d\n", clean(string(s)), e.Counts[s])
		}
		t.field("ref", e.Ref)
		t.field("trace", e.TraceID)
		return nil
	}
	var m messageStatus
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	t.tellMessage(&m)
	return nil
}

func (t *tuma) tellMessage(m *messageStatus) {
	t.field("message", m.ID)
	t.field("to", m.To)
	t.field("status", string(m.Status))
	t.field("provider", strings.TrimSpace(m.Provider+" "+m.ProviderID))
	t.field("ref", m.Ref)
	t.field("replay of", m.ReplayOf)
	t.printf("%-9s %s, %s\n", "sent as", plural(m.Segments, "segment"), plural(m.Attempts, "attempt"))
	t.field("cost", m.Cost)
	t.field("operator", m.Operator)
	if m.Error != nil {
		t.field("error", reason(m.Error.Code, strings.TrimSpace(m.Error.ProviderCode+" "+m.Error.Detail)))
	}
	if m.Waiting != nil {
		until := ""
		if m.Waiting.Until != nil {
			until = " until " + m.Waiting.Until.Local().Format(time.DateTime)
		}
		t.field("waiting", m.Waiting.Reason+until)
	}
	t.field("trace", m.TraceID)
	for _, h := range m.History {
		t.printf("  %s  %-12s %s\n", h.Time.Local().Format("2006-01-02 15:04:05.000"), clean(string(h.Status)),
			clean(strings.TrimSpace(h.Provider+" "+h.Detail)))
	}
}

func (t *tuma) field(name, value string) {
	if value != "" {
		t.printf("%-9s %s\n", name, clean(value))
	}
}
