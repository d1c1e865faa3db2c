package providertest

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

var operationName = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)

// testDesk checks the table of operations, and replays desk/NAME.source
// ("operation: NAME", "arg.PARAM: value") upon desk/NAME.response.http.
func (s Suite) testDesk(t *testing.T) {
	names := map[string]bool{}
	for _, o := range s.offline(t, &replay{}).(providers.Desk).Operations() {
		if !operationName.MatchString(o.Name) || o.About == "" || o.Do == nil || names[o.Name] {
			t.Errorf("operation %q: wants one good name, an About and a Do", o.Name)
		}
		names[o.Name] = true
		for _, p := range o.Params {
			if p.Name == "" || p.About == "" {
				t.Errorf("operation %s: a parameter without name or About", o.Name)
			}
		}
	}
	replayed := map[string]bool{}
	s.eachFixture(t, "desk", ".response.http", func(t *testing.T, f fixture) { replayed[s.replayOperation(t, f)] = true })
	for name := range names {
		if !replayed[name] {
			t.Errorf("operation %s has no fixture", name)
		}
	}
}

func (s Suite) replayOperation(t *testing.T, f fixture) string {
	args := map[string]string{}
	for key, value := range f.source {
		if name, ok := strings.CutPrefix(key, "arg."); ok {
			args[name] = value
		}
	}
	r := f.response(t)
	name := f.source["operation"]
	for _, o := range s.offline(t, r).(providers.Desk).Operations() {
		if o.Name != name {
			continue
		}
		slots := 0
		shown, err := o.Do(t.Context(), args, func(context.Context) (func() error, error) {
			slots++
			return func() error { return nil }, nil
		})
		if err != nil {
			s.checkLeak(t, err.Error(), 0)
		}
		f.checkRequest(t, r)
		if slots != 1 {
			t.Errorf("%d slots for one request", slots)
		}
		f.compare(t, ".want.json", wantView{Shown: shown, Error: viewError(err)}.encode())
		return name
	}
	t.Errorf("%s: no operation %q", f.path, name)
	return name
}
