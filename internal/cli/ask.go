package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// askCommand lets an operator do or ask other things at a gateway than send.
func (t *tuma) askCommand() *cobra.Command {
	return t.jsonFlag(&cobra.Command{
		Use:   "ask PROVIDER [OPERATION [NAME=VALUE…]]",
		Short: "Ask or do other things at a gateway than send; without an operation, list them",
		Long: "Ask or do other things at a gateway than send: list sender ids, hold what it has scheduled, see a campaign.\n" +
			"message=ID names one of your messages where an operation wants the gateway's id.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			at := "/v1/providers/" + url.PathEscape(args[0]) + "/operations"
			var raw json.RawMessage
			if len(args) == 1 {
				if err := c.call(cmd.Context(), http.MethodGet, at, nil, nil, &raw); err != nil {
					return err
				}
				return failed(t.tellOperations(raw))
			}
			given := map[string]string{}
			for _, a := range args[2:] {
				name, value, ok := strings.Cut(a, "=")
				if !ok {
					return fmt.Errorf("%q is not NAME=VALUE", a)
				}
				given[name] = value
			}
			if err := c.call(cmd.Context(), http.MethodPost, at+"/"+url.PathEscape(args[1]), nil, given, &raw); err != nil {
				return err
			}
			return failed(t.tellShown(raw))
		},
	})
}

func (t *tuma) tellOperations(raw json.RawMessage) error {
	if t.json {
		t.printf("%s\n", strings.TrimSpace(cleanJSON(raw)))
		return nil
	}
	var list struct {
		Operations []struct {
			Name    string `json:"name"`
			About   string `json:"about"`
			Changes bool   `json:"changes"`
			Params  []struct {
				Name     string `json:"name"`
				Required bool   `json:"required"`
			} `json:"params"`
		} `json:"operations"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OPERATION\tWANTS\tWHAT IT DOES")
	for _, o := range list.Operations {
		var wants []string
		for _, p := range o.Params {
			if p.Required {
				wants = append(wants, p.Name)
			} else {
				wants = append(wants, "["+p.Name+"]")
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", clean(o.Name), clean(strings.Join(wants, " ")), clean(o.About))
	}
	return w.Flush()
}

func (t *tuma) tellShown(raw json.RawMessage) error {
	var answer struct {
		Shown json.RawMessage `json:"shown"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	if t.json {
		t.printf("%s\n", strings.TrimSpace(cleanJSON(answer.Shown)))
		return nil
	}
	var v any
	if err := json.Unmarshal(answer.Shown, &v); err != nil {
		return err
	}
	pretty, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	t.printf("%s\n", cleanJSON(pretty))
	return nil
}

// optOutCommand shows or sets whether a number wants nothing from an account.
func (t *tuma) optOutCommand() *cobra.Command {
	var set, clear bool
	c := &cobra.Command{
		Use:   "opt-out PROVIDER NUMBER",
		Short: "Show, set or clear that a number wants nothing from an account",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			in := map[string]any{"provider": args[0], "number": args[1]}
			if set || clear {
				in["opted_out"] = set
			}
			var answer struct {
				OptedOut bool `json:"opted_out"`
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/opt-outs", nil, in, &answer); err != nil {
				return err
			}
			word := "takes messages"
			if answer.OptedOut {
				word = "has opted out"
			}
			t.printf("%s %s\n", clean(args[1]), word)
			return nil
		},
	}
	c.Flags().BoolVar(&set, "set", false, "it wants nothing any more")
	c.Flags().BoolVar(&clear, "clear", false, "it wants messages again")
	c.MarkFlagsMutuallyExclusive("set", "clear")
	return c
}
