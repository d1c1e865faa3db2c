package envelope_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

func TestPlaceholders(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                               nil,
		"no names":                       nil,
		"Hi {{name}}":                    {"name"},
		"{{ a }}{{b}} {{a}}":             {"a", "b"},
		"{{}} {{ }} {{1a}} {{a b}} {{a}": nil,
		"{{{a}}}":                        {"a"},
		"{{a{{b}}":                       {"b"},
		"{{_x1}}":                        {"_x1"},
		"{{é}} {{a\n}}":                  nil,
	} {
		if diff := cmp.Diff(want, envelope.Placeholders(text)); diff != "" {
			t.Errorf("Placeholders(%q): %s", text, diff)
		}
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"name": "Asha", "nasty": "{{name}}", "open": "{{", "empty": ""}
	for text, want := range map[string]string{
		"Hi {{name}}, {{ name }}!": "Hi Asha, Asha!",
		"{{nasty}}":                "{{name}}",
		"{{open}}name}}":           "{{name}}",
		"[{{empty}}]":              "[]",
		"{{{name}}}":               "{Asha}",
		"{{na me}}":                "{{na me}}",
	} {
		got, err := envelope.Render(text, vars)
		if err != nil || got != want {
			t.Errorf("Render(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	_, err := envelope.Render("{{name}} {{surname}}", vars)
	var r *envelope.Refusal
	if !errors.As(err, &r) || r.Code != envelope.MissingVariable || r.Field != "surname" {
		t.Errorf("missing variable: got %v", err)
	}
}

func FuzzRender(f *testing.F) {
	f.Add("Hi {{name}}", "Asha")
	f.Add("{{{name}}}", "{{name}}")
	f.Add("{{ {{name }}", "}}")
	f.Fuzz(func(t *testing.T, text, value string) {
		vars := map[string]string{}
		for _, n := range envelope.Placeholders(text) {
			vars[n] = value
		}
		got, err := envelope.Render(text, vars)
		if err != nil {
			t.Fatalf("every placeholder has a value, yet %v", err)
		}
		if len(vars) == 0 && got != text {
			t.Fatalf("text without placeholders changed: %q to %q", text, got)
		}
		if len(vars) > 0 && !strings.Contains(got, value) {
			t.Fatalf("the value is missing in %q", got)
		}
	})
}
