package dlr_test

import (
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/internal/dlr"
)

func TestTokenIsGoodForItsBatchOnly(t *testing.T) {
	t.Parallel()
	token := dlr.Token("new", "gw", "t1-a")
	for name, c := range map[string]struct {
		secrets []string
		account string
		token   string
		ok      bool
	}{
		"newest":          {[]string{"new", "old"}, "gw", token, true},
		"rotated":         {[]string{"newer", "new"}, "gw", token, true},
		"upper case":      {[]string{"new"}, "gw", "t1-a." + strings.ToUpper(token[5:]), true},
		"retired":         {[]string{"newer"}, "gw", token, false},
		"none":            {nil, "gw", token, false},
		"another account": {[]string{"new"}, "gw2", token, false},
		"another batch":   {[]string{"new"}, "gw", "t1-b" + token[4:], false},
		"cut":             {[]string{"new"}, "gw", token[:len(token)-2], false},
		"longer":          {[]string{"new"}, "gw", token + "00", false},
		"no mac":          {[]string{"new"}, "gw", "t1-a.", false},
		"no dot":          {[]string{"new"}, "gw", "t1-a", false},
		"the secret":      {[]string{"new"}, "gw", "new", false},
		"empty":           {[]string{"", "new"}, "gw", "", false},
		"not hex":         {[]string{"new"}, "gw", "t1-a.zz", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			batch, ok := dlr.NewCapabilities(c.secrets, c.account).Batch(c.token)
			if ok != c.ok || ok && batch != "t1-a" {
				t.Errorf("got %q, %v", batch, ok)
			}
		})
	}
}

func FuzzBatchOf(f *testing.F) {
	all := dlr.NewCapabilities([]string{"secret"}, "gw")
	f.Add("t1-a.00ff")
	f.Add(dlr.Token("another", "gw", "t1-a"))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if batch, ok := all.Batch(token); ok && !strings.EqualFold(dlr.Token("secret", "gw", batch), token) {
			t.Fatalf("%q passed for %q", token, batch)
		}
	})
}
