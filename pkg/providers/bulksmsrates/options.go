package bulksmsrates

import (
	"regexp"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// Options of a message that only this API knows. client_ref and validity_minutes
// are ours.
const (
	optTemplate  = "template_id"  // "Use a saved template"
	optUnicode   = "unicode"      // "Force Unicode encoding"
	optScheduled = "scheduled_at" // "ISO 8601 UTC send time (max 30 days ahead)"
)

const farthest = 30 * 24 * time.Hour

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// extras are a message's options, read.
type extras struct {
	template  string
	unicode   bool
	scheduled time.Time // zero: at once
}

// optionsOf reads the options of m, and refuses what this API does not know.
func (p *provider) optionsOf(m *providers.Message) (x extras, err error) {
	for name, value := range m.Options {
		switch name {
		case optTemplate:
			if x.template = strings.ToLower(value); !uuidForm.MatchString(value) {
				return x, badOption("template_id is a UUID")
			}
		case optUnicode:
			if x.unicode = value == "true"; value != "true" && value != "false" {
				return x, badOption("unicode is true or false")
			}
		case optScheduled:
			if x.scheduled, err = time.Parse(time.RFC3339, value); err != nil {
				return x, badOption("scheduled_at is an RFC 3339 time")
			}
			if x.scheduled.Sub(p.now()) > farthest {
				return x, badOption("scheduled_at is at most 30 days ahead")
			}
			if !m.ExpiresAt.IsZero() && !x.scheduled.Before(m.ExpiresAt) {
				return x, badOption("scheduled_at is after the message expires")
			}
		default:
			return x, badOption("does not know one of the options")
		}
	}
	return x, nil
}

func badOption(detail string) error {
	return refuse(providers.RejectedHere, envelope.InvalidEnvelope, detail)
}

// key is equal for options that may share a request.
func (x extras) key() string {
	key := x.template + "\x00" + x.wire()
	if x.unicode {
		key += "\x00u"
	}
	return key
}

// wire is the send time as the API wants it; empty: at once.
func (x extras) wire() string {
	if x.scheduled.IsZero() {
		return ""
	}
	return x.scheduled.UTC().Format("2006-01-02T15:04:05Z")
}

// from is when the gateway will send what it gets now.
func (x extras) from(now time.Time) time.Time {
	if x.scheduled.After(now) {
		return x.scheduled
	}
	return now
}
