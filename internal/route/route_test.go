package route_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/internal/route"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	table := route.New([]route.Rule{
		{Prefix: "+254", Accounts: []string{"ke", "world"}},
		{Prefix: "+2547", Accounts: []string{"mobile", "ke", "world"}},
		{Prefix: "+25", Accounts: []string{"east"}},
		{Prefix: "+2549", Refuse: true},
	})
	anything := func(string, *providers.Message) error { return nil }
	not := func(names ...string) route.Check {
		return func(a string, _ *providers.Message) error {
			if strings.Contains(strings.Join(names, " "), a) {
				return &providers.Error{Class: providers.RejectedHere, Detail: "sender not registered"}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		to    string
		want  route.Want
		check route.Check
		got   []string
	}{
		"longest prefix":               {"+254712345678", route.Want{}, anything, []string{"mobile", "ke", "world"}},
		"shorter prefix":               {"+254112345678", route.Want{}, anything, []string{"ke", "world"}},
		"shortest prefix":              {"+250712345678", route.Want{}, anything, []string{"east"}},
		"no prefix":                    {"+12025550123", route.Want{}, anything, nil},
		"tenant's accounts keep order": {"+254712345678", route.Want{Allowed: []string{"world", "mobile"}}, anything, []string{"mobile", "world"}},
		"none of the tenant's":         {"+254712345678", route.Want{Allowed: []string{"east"}}, anything, nil},
		"demanded":                     {"+254712345678", route.Want{Provider: "ke"}, anything, []string{"ke"}},
		"demanded, not on the route":   {"+12025550123", route.Want{Provider: "east"}, anything, []string{"east"}},
		"refused":                      {"+254912345678", route.Want{}, anything, nil},
		"refused, though demanded":     {"+254912345678", route.Want{Provider: "ke"}, anything, nil},
		"demanded, not allowed":        {"+254712345678", route.Want{Provider: "ke", Allowed: []string{"world"}}, anything, nil},
		"check filters":                {"+254712345678", route.Want{}, not("mobile"), []string{"ke", "world"}},
		"check refuses all":            {"+254712345678", route.Want{}, not("mobile", "ke", "world"), nil},
	} {
		got, err := table.Choose(&providers.Message{To: c.to}, c.want, c.check)
		if diff := cmp.Diff(c.got, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		var r *envelope.Refusal
		if errors.As(err, &r) != (c.got == nil) || r != nil && r.Code != envelope.NoRoute {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The chosen rule is the one that a search over all rules finds.
func TestLongestPrefixWins(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var rules []route.Rule
		for _, p := range rapid.SliceOfDistinct(rapid.StringMatching(`\+[12]{0,5}`), rapid.ID[string]).Draw(t, "prefixes") {
			rules = append(rules, route.Rule{Prefix: p, Accounts: []string{p}})
		}
		number := rapid.StringMatching(`\+[12]{8}`).Draw(t, "number")
		best := ""
		for _, r := range rules {
			if strings.HasPrefix(number, r.Prefix) && len(r.Prefix) > len(best) {
				best = r.Prefix
			}
		}
		got, err := route.New(rules).Choose(&providers.Message{To: number}, route.Want{}, func(string, *providers.Message) error { return nil })
		if (best == "") != (err != nil) || err == nil && got[0] != best {
			t.Fatalf("got %v, %v; want %q", got, err, best)
		}
	})
}
