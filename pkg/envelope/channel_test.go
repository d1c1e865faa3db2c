package envelope_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

func TestWhatsAppWantsATemplateAndNothingElse(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*envelope.Envelope){
		"":                    func(*envelope.Envelope) {},
		"from":                func(e *envelope.Envelope) { e.From = "ACME" },
		"text":                func(e *envelope.Envelope) { e.Text = "Hi" },
		"template":            func(e *envelope.Envelope) { e.Template = nil },
		"template.name":       func(e *envelope.Envelope) { e.Template.Name = "" },
		"template.language":   func(e *envelope.Envelope) { e.Template.Language = "en US" },
		"template.parameters": func(e *envelope.Envelope) { e.Template.Parameters = []string{"a", ""} },
	} {
		e := &envelope.Envelope{Channel: envelope.WhatsApp, Template: &envelope.Template{Name: "t", Language: "en_US", Parameters: []string{"{{name}}"}}}
		change(e)
		err := e.Check()
		var r *envelope.Refusal
		if got := errors.As(err, &r); got != (field != "") || got && r.Field != field {
			t.Errorf("%q: got %v", field, err)
		}
	}
}

func TestOptionsAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options map[string]string
		ok      bool
	}{
		"none":           {nil, true},
		"longest":        {map[string]string{strings.Repeat("k", 64): strings.Repeat("v", 256)}, true},
		"no name":        {map[string]string{"": "v"}, false},
		"long name":      {map[string]string{strings.Repeat("k", 65): "v"}, false},
		"long value":     {map[string]string{"k": strings.Repeat("v", 257)}, false},
		"line in value":  {map[string]string{"k": "a\nb"}, false},
		"17 of them":     {many(17), false},
		"16 of them":     {many(16), true},
		"no characters?": {map[string]string{"k": "\xff"}, false},
	} {
		err := (&envelope.Envelope{From: "ACME", Text: "x", Options: c.options}).Check()
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func many(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[strings.Repeat("k", i+1)] = ""
	}
	return m
}

func TestTemplateIsFilled(t *testing.T) {
	t.Parallel()
	form := &envelope.Template{Name: "t", Language: "en", Parameters: []string{"Hi {{name}}", "{{1}}", "{{n}} of {{n}}"}}
	if d := cmp.Diff([]string{"name", "n"}, form.Placeholders()); d != "" {
		t.Error(d)
	}
	filled, err := form.Fill(map[string]string{"name": "{{n}}", "n": "2"})
	if err != nil {
		t.Fatal(err)
	}
	want := &envelope.Template{Name: "t", Language: "en", Parameters: []string{"Hi {{n}}", "{{1}}", "2 of 2"}}
	if d := cmp.Diff(want, filled); d != "" {
		t.Error(d)
	}
	for code, vars := range map[envelope.Code]map[string]string{
		envelope.MissingVariable: {"n": "2"},
		envelope.InvalidText:     {"n": "2", "name": strings.Repeat("x", envelope.MaxParameterBytes)},
	} {
		_, err := form.Fill(vars)
		var r *envelope.Refusal
		if !errors.As(err, &r) || r.Code != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
	p := &envelope.Piece{Form: form}
	m := &envelope.Message{Variables: map[string]string{"name": "Asha", "n": "1"}}
	if got := p.Filled(m); got != form {
		t.Errorf("without variables %+v, want it as typed", got)
	}
	p.Template = true
	if got := p.Filled(m).Parameters[0]; got != "Hi Asha" {
		t.Errorf("parameter %q", got)
	}
	if got := p.Filled(&envelope.Message{}); got.Name != "" {
		t.Errorf("what lacks a variable is %+v, want nothing that could be sent", got)
	}
}
