package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// sendFlags are the flags of tuma send.
type sendFlags struct {
	to                     []string
	csv                    string
	from, text             string
	vars, metadata         []string
	priority, onUncertain  string
	sendAt, expiresAt      string
	provider, ref          string
	idempotency, supersede string
	channel, template      string
	language               string
	params, options        []string
	wait, dryRun           bool
	timeout                time.Duration
}

func (t *tuma) sendCommand() *cobra.Command {
	var s sendFlags
	c := t.jsonFlag(&cobra.Command{
		Use:   "send",
		Short: "Send a message to one, many, or the rows of a CSV file",
		Example: `  tuma send --to +254712345678 --from ACME --text "Hello"
  tuma send --to +254712345678,+250788123456 --from ACME --text "Hi {{name}}" --var name=Asha
  tuma send --csv people.csv --from ACME --text "Hi {{name}}" --wait
  tuma send --to +254712345678 --channel whatsapp --template order_shipped --language en --param Asha --param ORD-1`,
		Long: "send hands messages over and tells what was accepted. A CSV file has a header row\n" +
			"that names the variables, and the numbers in a column to or phone; it is checked\n" +
			"to its end before anything is sent. Sending the same file again under the same\n" +
			"--idempotency-key sends nothing twice.\n\n" +
			"--wait ends once every message is final, or uncertain without any change for three\n" +
			"minutes (a retry comes after two): such a message is held until a report or an\n" +
			"operator settles it. --timeout ends it sooner.\n\n" +
			"It exits with 0 if all is well, 1 if some were refused or failed, 2 if the command is wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.send(cmd.Context(), &s) },
	})
	f := c.Flags()
	f.StringSliceVar(&s.to, "to", nil, "`NUMBERS`, separated by commas")
	f.StringVar(&s.csv, "csv", "", "CSV `FILE` with a recipient in each row; - is standard input")
	f.StringVar(&s.from, "from", "", "sender id (required for an SMS)")
	f.StringVar(&s.text, "text", "", "text; {{name}} stands for a variable (required for an SMS)")
	f.StringVar(&s.channel, "channel", "", "sms or whatsapp (default sms)")
	f.StringVar(&s.template, "template", "", "`NAME` of the gateway's template (required for whatsapp)")
	f.StringVar(&s.language, "language", "", "`CODE` of the template's language (required for whatsapp)")
	f.StringArrayVar(&s.params, "param", nil, "`VALUE` of the template's next placeholder; {{name}} stands for a variable; may be repeated")
	f.StringArrayVar(&s.options, "option", nil, "`NAME=VALUE` that only some gateways know; may be repeated")
	f.StringArrayVar(&s.vars, "var", nil, "`NAME=VALUE` of a variable, the same for all of --to; may be repeated")
	f.StringVar(&s.priority, "priority", "", "high, normal or bulk (default normal)")
	f.StringVar(&s.sendAt, "send-at", "", "`TIME` to send at: 2026-12-01T08:00:00Z, or from now: 2h")
	f.StringVar(&s.expiresAt, "expires-at", "", "`TIME` after which not to send any more (default 48h after sending)")
	f.StringVar(&s.provider, "provider", "", "`ACCOUNT` to send through, instead of the route")
	f.StringVar(&s.ref, "ref", "", "your own reference")
	f.StringVar(&s.idempotency, "idempotency-key", "", "`KEY` under which a repetition sends nothing again (default random)")
	f.StringVar(&s.supersede, "supersede-key", "", "`KEY`: cancels what was sent under it before and is still waiting")
	f.StringVar(&s.onUncertain, "on-uncertain", "", "hold or retry what may or may not have been sent")
	f.StringArrayVar(&s.metadata, "metadata", nil, "`NAME=VALUE` kept with the message; may be repeated")
	f.BoolVar(&s.dryRun, "dry-run", false, "send nothing; tell segments, providers and requests")
	f.BoolVar(&s.wait, "wait", false, "exit only once every message is final, or held as uncertain")
	f.DurationVar(&s.timeout, "timeout", 0, "how long to --wait (default for ever)")
	return c
}

func (t *tuma) send(ctx context.Context, s *sendFlags) error {
	base, err := s.envelope(t.Now())
	if err != nil {
		return err
	}
	c, err := t.client()
	if err != nil {
		return err
	}
	src, total, err := s.source(base, t.Stdin)
	if err != nil {
		return err
	}
	defer src.close()
	if s.idempotency == "" {
		s.idempotency, _ = newKey()
	}
	out := &sending{t: t, flags: s, bar: t.bar(total, "sent")}
	err = out.all(ctx, c, src)
	out.bar.done()
	if told := out.tell(); err == nil {
		err = told
	}
	if err != nil && !errors.Is(err, errTold) || !s.wait || s.dryRun || len(out.envelopes) == 0 {
		return failed(err)
	}
	if waited := t.await(ctx, c, out.envelopes, out.accepted, s.timeout); waited != nil {
		err = waited
	}
	return failed(err)
}

// envelope returns what all recipients have in common. Its errors are usage.
func (s *sendFlags) envelope(now time.Time) (*envelope.Envelope, error) {
	if err := s.checkChannel(); err != nil {
		return nil, err
	}
	if (len(s.to) == 0) == (s.csv == "") {
		return nil, errors.New("give either --to or --csv")
	}
	if s.csv != "" && len(s.vars) > 0 {
		return nil, errors.New("--var goes with --to; a CSV file brings its own variables")
	}
	e := &envelope.Envelope{
		From: s.from, Text: s.text, Priority: envelope.Priority(s.priority), Provider: s.provider, Ref: s.ref,
		OnUncertain: envelope.Policy(s.onUncertain), SupersedeKey: s.supersede, Channel: envelope.Channel(s.channel),
	}
	if s.template != "" {
		e.Template = &envelope.Template{Name: s.template, Language: s.language, Parameters: s.params}
	}
	if s.priority != "" && !slices.Contains(envelope.Priorities[:], e.Priority) {
		return nil, errors.New("--priority is high, normal or bulk")
	}
	if s.onUncertain != "" && e.OnUncertain != envelope.Hold && e.OnUncertain != envelope.Retry {
		return nil, errors.New("--on-uncertain is hold or retry")
	}
	var err error
	if e.Variables, err = pairs("var", s.vars); err != nil {
		return nil, err
	}
	if e.Metadata, err = pairs("metadata", s.metadata); err != nil {
		return nil, err
	}
	if e.Options, err = pairs("option", s.options); err != nil {
		return nil, err
	}
	if e.SendAt, err = moment("send-at", s.sendAt, now); err != nil {
		return nil, err
	}
	e.ExpiresAt, err = moment("expires-at", s.expiresAt, now)
	return e, err
}

// checkChannel sees to it that the flags of one channel are all there, and none
// of the other's.
func (s *sendFlags) checkChannel() error {
	switch envelope.Channel(s.channel) {
	case "", envelope.SMS:
		switch {
		case s.from == "" || s.text == "":
			return errors.New("--from and --text are required")
		case s.template != "" || s.language != "" || len(s.params) > 0:
			return errors.New("--template, --language and --param go with --channel whatsapp")
		}
	case envelope.WhatsApp:
		switch {
		case s.template == "" || s.language == "":
			return errors.New("--template and --language are required with --channel whatsapp")
		case s.from != "" || s.text != "":
			return errors.New("--from and --text do not go with --channel whatsapp: it sends templates, from the account's own number")
		}
	default:
		return errors.New("--channel is sms or whatsapp")
	}
	return nil
}

// pairs reads NAME=VALUE as it is typed: a value may hold commas and equals signs.
func pairs(flag string, list []string) (map[string]string, error) {
	var out map[string]string
	for _, p := range list {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--%s is NAME=VALUE", flag)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = value
	}
	return out, nil
}

// moment reads a time, or a span from now.
func moment(flag, v string, now time.Time) (*time.Time, error) {
	if v == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(v); err == nil && d >= 0 {
		at := now.Add(d).UTC().Truncate(time.Millisecond)
		return &at, nil
	}
	at, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return nil, fmt.Errorf("--%s is a time like 2026-12-01T08:00:00Z, or a span from now like 2h", flag)
	}
	return &at, nil
}

// sending is the state of one tuma send.
type sending struct {
	t     *tuma
	flags *sendFlags
	bar   *bar

	accepted, rejected int
	envelopes          []string
	messages           []Taken   // as far as they are printed
	refused            []Refused // as far as they are printed
	batches            map[string]int
}

// shown is how many lines about single recipients are worth reading.
const shown = 20

// all submits envelope after envelope. The first is eager to fail: a wrong --url
// should not be tried for half a minute.
func (o *sending) all(ctx context.Context, c *Client, src source) error {
	for n := 1; ; n++ {
		env, lines, err := src.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		key := o.flags.idempotency
		if src.many() {
			key = fmt.Sprintf("%s-%d", key, n)
		}
		a, err := c.Submit(ctx, env, key, o.flags.dryRun, n == 1)
		if err != nil {
			var ok bool
			if a, ok = refusedAll(err); !ok {
				return err
			}
		}
		for i := range a.Errors {
			if j := a.Errors[i].Index; lines != nil && j >= 0 && j < len(lines) {
				a.Errors[i].Line = lines[j]
			}
		}
		if err := o.add(a); err != nil {
			return err
		}
		o.bar.add(max(len(env.Recipients), 1))
	}
}

func (o *sending) add(a *Answer) error {
	o.accepted += a.Accepted
	o.rejected += a.Rejected
	if a.ID != "" {
		o.envelopes = append(o.envelopes, a.ID)
	}
	if o.t.json {
		return o.t.line(a)
	}
	o.messages = append(o.messages, a.Messages[:min(len(a.Messages), shown-min(len(o.messages), shown))]...)
	o.refused = append(o.refused, a.Errors[:min(len(a.Errors), shown-min(len(o.refused), shown))]...)
	for account, n := range a.Batches {
		if o.batches == nil {
			o.batches = map[string]int{}
		}
		o.batches[account] += n
	}
	return nil
}

// tell prints the sum; its error says whether some were refused.
func (o *sending) tell() error {
	t := o.t
	if !t.json {
		for _, r := range o.refused {
			fmt.Fprintf(t.Stderr, "refused %s%s: %s\n", line(r.Line), clean(r.To), reason(r.Code, r.Detail))
		}
		if more := o.rejected - len(o.refused); more > 0 {
			fmt.Fprintf(t.Stderr, "refused %d more\n", more)
		}
		switch {
		case o.flags.dryRun:
			o.tellPlan()
		case o.accepted == 1 && len(o.messages) == 1:
			m := o.messages[0]
			t.printf("accepted %s to %s (%s)\n", clean(m.ID), clean(m.To), plural(m.Segments, "segment"))
		case o.accepted > 0:
			t.printf("accepted %d, refused %d, in %s\n", o.accepted, o.rejected, plural(len(o.envelopes), "envelope"))
			for _, id := range o.envelopes[:min(len(o.envelopes), shown)] {
				t.printf("  tuma status %s\n", clean(id))
			}
		}
	}
	if o.rejected > 0 {
		return errTold
	}
	return nil
}

func (o *sending) tellPlan() {
	o.t.printf("would accept %d, refuse %d\n", o.accepted, o.rejected)
	for _, m := range o.messages {
		o.t.printf("  %s through %s (%s)\n", clean(m.To), clean(m.Provider), plural(m.Segments, "segment"))
	}
	for _, account := range slices.Sorted(maps.Keys(o.batches)) {
		o.t.printf("  %s: %s\n", clean(account), plural(o.batches[account], "request"))
	}
}

// line prints v as one line of JSON.
func (t *tuma) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.Stdout, cleanJSON(b))
	return err
}

func line(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("line %d, ", n)
}

func reason(code, detail string) string {
	return clean(strings.TrimSuffix(code+": "+detail, ": "))
}

func plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}
