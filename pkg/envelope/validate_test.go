package envelope_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

func TestMeasure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		enc  envelope.Encoding
		n    int
	}{
		"empty":                       {"", envelope.GSM7, 0},
		"160":                         {strings.Repeat("a", 160), envelope.GSM7, 1},
		"161":                         {strings.Repeat("a", 161), envelope.GSM7, 2},
		"306":                         {strings.Repeat("a", 306), envelope.GSM7, 2},
		"307":                         {strings.Repeat("a", 307), envelope.GSM7, 3},
		"80 euros":                    {strings.Repeat("€", 80), envelope.GSM7, 1},
		"81 euros":                    {strings.Repeat("€", 81), envelope.GSM7, 2},
		"escape pair at the edge":     {strings.Repeat("a", 152) + "€" + strings.Repeat("a", 152), envelope.GSM7, 3},
		"escape pair fits":            {strings.Repeat("a", 151) + "€" + strings.Repeat("a", 153), envelope.GSM7, 2},
		"every basic character":       {"@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ÄÖÑÜ§¿äöñüà", envelope.GSM7, 1},
		"small c cedilla is not GSM":  {"ç", envelope.UCS2, 1},
		"backtick is not GSM":         {"`", envelope.UCS2, 1},
		"tab is not GSM":              {"\t", envelope.UCS2, 1},
		"70":                          {strings.Repeat("ж", 70), envelope.UCS2, 1},
		"71":                          {strings.Repeat("ж", 71), envelope.UCS2, 2},
		"135":                         {strings.Repeat("ж", 135), envelope.UCS2, 3},
		"one typographic apostrophe":  {strings.Repeat("a", 159) + "’", envelope.UCS2, 3},
		"35 emoji":                    {strings.Repeat("😀", 35), envelope.UCS2, 1},
		"36 emoji, pairs are kept":    {strings.Repeat("😀", 36), envelope.UCS2, 2},
		"67 emoji: 33 a segment":      {strings.Repeat("😀", 67), envelope.UCS2, 3},
		"66 emoji: 33 a segment":      {strings.Repeat("😀", 66), envelope.UCS2, 2},
		"all extension characters":    {"\f^{}\\[~]|€", envelope.GSM7, 1},
		"broken UTF-8 does not panic": {"\xff", envelope.UCS2, 1},
	} {
		if enc, n := envelope.Measure(c.text); enc != c.enc || n != c.n {
			t.Errorf("%s: %s, %d; want %s, %d", name, enc, n, c.enc, c.n)
		}
	}
}

// A text's segments never shrink when it grows, and lie between what the sum of
// its units needs at least and what one lost unit a segment costs at most.
func TestMeasureBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("abc €[]{}жé😀\n'")), 0, 700, -1).Draw(t, "text")
		enc, n := envelope.Measure(text)
		encLonger, longer := envelope.Measure(text + "a")
		if encLonger != enc || longer < n {
			t.Fatalf("%d segments (%s), one more character: %d (%s)", n, enc, longer, encLonger)
		}
		units := 0
		for _, r := range text {
			switch {
			case enc == envelope.GSM7 && strings.ContainsRune("€[]{}", r), enc == envelope.UCS2 && r > 0xffff:
				units += 2
			default:
				units++
			}
		}
		single, part := 160, 153
		if enc == envelope.UCS2 {
			single, part = 70, 67
		}
		if units <= single {
			if want := min(units, 1); n != want {
				t.Fatalf("%d units: %d segments", units, n)
			}
			return
		}
		if least, most := (units+part-1)/part, (units+part-2)/(part-1); n < least || n > most {
			t.Fatalf("%d units: %d segments, want %d to %d", units, n, least, most)
		}
	})
}

func TestValidNumber(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"+254712345678": true, "+12345678": true, "+123456789012345": true,
		"": false, "+": false, "+000": false, "+0712345678": false, "+1234567": false, "+1234567890123456": false,
		"254712345678": false, "0712345678": false, "+25471234567a": false, "+２５４７１２３４５６７８": false, "+1e91234567": false,
		"0x12345678": false, "+254 712 345 678": false, "+254-712345678": false, "tel:+254712345678": false,
		"+254712345678;ext=1": false, "00254712345678": false, "+254712345678,+254712345679": false, "+254712345678\n": false, "++254712345678": false,
	} {
		if got := envelope.ValidNumber(s); got != want {
			t.Errorf("ValidNumber(%q) = %v", s, got)
		}
	}
}

func TestCheckSender(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"ACME": true, "A": true, "Acme Ltd.": true, "a-b": true, "elevenchars": true, "15000": true, "+254712345678": true, "4U": true, "712345678901234": true,
		"": false, "twelve chars": false, "   ": false, "-ACME": false, "ACME-": false, " ACME": false, "...": false, "12": false, "1.2": false, "1-2": false,
		"МTN": false, "AC\u202eME": false, "AC\u200bME": false, "AC\x00ME": false, "AC\nME": false, "A&B": false, "A,B": false, "A_B": false, "+": false, "+12a": false, "1234567890123456": false,
	} {
		if err := envelope.CheckSender(s); (err == nil) != want {
			t.Errorf("CheckSender(%q) = %v", s, err)
		}
	}
}

func TestCheckText(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"x": true, "a\r\nb": true, "مرحبا \u202b": true, strings.Repeat("a", 1530): true, strings.Repeat("😀", 330): true,
		"": false, strings.Repeat("a", 1531): false, strings.Repeat("ж", 671): false, strings.Repeat("a", 1<<20): false,
		"\x00": false, "a\tb": false, "\x1b[31m": false, "\u0085": false, "\x7f": false, "\xff": false,
	} {
		if _, _, err := envelope.CheckText(s); (err == nil) != want {
			t.Errorf("CheckText(%.20q) = %v", s, err)
		}
	}
}

func TestCheckNamesTheField(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 300)
	for field, change := range map[string]func(*envelope.Envelope){
		"":                func(*envelope.Envelope) {},
		"from":            func(e *envelope.Envelope) { e.From = "МTN" },
		"priority":        func(e *envelope.Envelope) { e.Priority = "urgent" },
		"on_uncertain":    func(e *envelope.Envelope) { e.OnUncertain = "drop" },
		"provider":        func(e *envelope.Envelope) { e.Provider = "a.b" },
		"idempotency_key": func(e *envelope.Envelope) { e.IdempotencyKey = "a\r\nNats-Msg-Id: x" },
		"supersede_key":   func(e *envelope.Envelope) { e.SupersedeKey = long },
		"ref":             func(e *envelope.Envelope) { e.Ref = long },
		"metadata":        func(e *envelope.Envelope) { e.Metadata = map[string]string{"": "x"} },
		"variables":       func(e *envelope.Envelope) { e.Variables = map[string]string{"name": strings.Repeat("x", 1<<20)} },
		"recipients":      func(e *envelope.Envelope) { e.Recipients = make([]envelope.Recipient, envelope.MaxRecipients+1) },
		"channel":         func(e *envelope.Envelope) { e.Channel = "fax" },
		"template":        func(e *envelope.Envelope) { e.Template = &envelope.Template{} },
		"options":         func(e *envelope.Envelope) { e.Options = map[string]string{"k": long} },
	} {
		e := &envelope.Envelope{From: "ACME", Text: "x"}
		change(e)
		err := e.Check()
		var r *envelope.Refusal
		if got := errors.As(err, &r); got != (field != "") || got && r.Field != field {
			t.Errorf("%q: got %v", field, err)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
	for name, c := range map[string]struct {
		sendAt, expiresAt *time.Time
		wantSend          *time.Time
		wantExpiry        *time.Time
		code              envelope.Code
	}{
		"defaults":            {nil, nil, nil, at(48 * time.Hour), ""},
		"past means now":      {at(-time.Hour), nil, nil, at(48 * time.Hour), ""},
		"later":               {at(time.Hour), nil, at(time.Hour), at(49 * time.Hour), ""},
		"30 days":             {at(720 * time.Hour), nil, at(720 * time.Hour), at(768 * time.Hour), ""},
		"more than 30 days":   {at(720*time.Hour + 1), nil, nil, nil, envelope.InvalidEnvelope},
		"year 9999":           {new(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)), nil, nil, nil, envelope.InvalidEnvelope},
		"given expiry":        {nil, at(time.Minute), nil, at(time.Minute), ""},
		"72 h":                {nil, at(72 * time.Hour), nil, at(72 * time.Hour), ""},
		"more than 72 h":      {nil, at(72*time.Hour + 1), nil, nil, envelope.InvalidEnvelope},
		"expired":             {nil, at(0), nil, nil, envelope.CodeExpired},
		"expires before sent": {at(2 * time.Hour), at(time.Hour), nil, nil, envelope.CodeExpired},
	} {
		e := &envelope.Envelope{SendAt: c.sendAt, ExpiresAt: c.expiresAt}
		send, expiry, err := e.Times(now)
		var r *envelope.Refusal
		if errors.As(err, &r) != (c.code != "") || r != nil && r.Code != c.code {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.code != "" {
			continue
		}
		if (send == nil) != (c.wantSend == nil) || send != nil && !send.Equal(*c.wantSend) || !expiry.Equal(*c.wantExpiry) {
			t.Errorf("%s: %v, %v", name, send, expiry)
		}
	}
}

func FuzzMeasure(f *testing.F) {
	f.Add("Hi Asha")
	f.Add("€uro {}")
	f.Add("😀\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if enc, n := envelope.Measure(s); n < 0 || (n == 0) != (s == "") || enc != envelope.GSM7 && enc != envelope.UCS2 {
			t.Fatalf("%s, %d", enc, n)
		}
	})
}
