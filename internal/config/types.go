package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Duration is a span of time, written with its unit (250ms, 10s, 5m, 1h30m).
type Duration struct {
	time.Duration
	set bool // written in the file: tells 0s from nothing
}

// UnmarshalYAML refuses a number without a unit: nobody agrees what 10 means.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	s := n.GetToken().Value
	v, err := time.ParseDuration(s)
	if err != nil || n.Type() != ast.StringType {
		return keyError(n, fmt.Sprintf("%q is not a duration; write it with its unit, like 10s or 5m", s))
	}
	d.Duration, d.set = v, true
	return nil
}

// MarshalYAML writes the duration with its unit.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

func (d *Duration) fallback(v time.Duration) {
	if !d.set {
		d.Duration = v
	}
}

// Window is the span a limit counts over: a sliding one, or a calendar day.
type Window struct {
	time.Duration      // 24 h for a day
	Day           bool // the calendar day of Rate.Location
}

// UnmarshalYAML takes second, minute, hour, day or a duration with its unit.
func (w *Window) UnmarshalYAML(n ast.Node) error {
	switch s := n.GetToken().Value; s {
	case "second":
		w.Duration = time.Second
	case "minute":
		w.Duration = time.Minute
	case "hour":
		w.Duration = time.Hour
	case "day":
		w.Duration, w.Day = 24*time.Hour, true
	default:
		v, err := time.ParseDuration(s)
		if err != nil || n.Type() != ast.StringType {
			return keyError(n, fmt.Sprintf("%q is not second, minute, hour, day or a duration like 1s", s))
		}
		w.Duration = v
	}
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (w Window) MarshalYAML() (any, error) {
	if w.Day {
		return "day", nil
	}
	return w.String(), nil
}

// Rate is one limit: either Requests or Messages in any window Per, the other is 0.
type Rate struct {
	Requests int    `yaml:"requests,omitempty"`
	Messages int    `yaml:"messages,omitempty"`
	Per      Window `yaml:"per"`
	Zone     string `yaml:"zone,omitempty"`
	// Model is how the provider counts requests: sliding (empty), fixed,
	// token_bucket or paced.
	Model string `yaml:"model,omitempty"`

	// Location is the zone whose calendar day counts; UTC unless Zone says.
	Location *time.Location `yaml:"-"`
}

// Rates are limits that all hold at once.
type Rates []Rate

// UnmarshalYAML takes one limit or a list of them.
func (r *Rates) UnmarshalYAML(n ast.Node) error {
	if n.Type() == ast.SequenceType {
		return yaml.NodeToValue(n, (*[]Rate)(r), yaml.Strict())
	}
	*r = make(Rates, 1)
	return yaml.NodeToValue(n, &(*r)[0], yaml.Strict())
}

// Secrets is one secret or a list of them, newest first.
type Secrets []Secret

// UnmarshalYAML takes one text or a list of them.
func (s *Secrets) UnmarshalYAML(n ast.Node) error {
	if n.Type() == ast.SequenceType {
		return yaml.NodeToValue(n, (*[]Secret)(s), yaml.Strict())
	}
	var one Secret
	if err := one.UnmarshalYAML(n); err != nil {
		return err
	}
	if !one.IsZero() {
		*s = Secrets{one}
	}
	return nil
}

// keyError is an error about the key at n; Load adds the file's name.
func keyError(n ast.Node, reason string) error {
	return &Error{Line: n.GetToken().Position.Line, Key: keyPath(n), Reason: reason}
}

// keyPath turns the YAML path $.providers.'a'.rate into providers.a.rate.
func keyPath(n ast.Node) string {
	p := strings.TrimPrefix(strings.TrimPrefix(n.GetPath(), "$"), ".")
	return strings.ReplaceAll(p, "'", "")
}
