package ingest

import (
	"strings"

	"github.com/mozillazg/go-unidecode"

	"github.com/tuma-sms/tuma/internal/route"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// signs are what the tables of the library write in a way that nobody reads, and
// what ASCII has that not every plain-text gateway takes.
var signs = strings.NewReplacer("£", "GBP", "€", "EUR", "¥", "JPY", "₹", "INR", "₦", "NGN", "₵", "GHS", "`", "'", "\t", " ", "\f", " ")

// plain writes text in ASCII, character by character: accents are dropped, other
// alphabets spelled out, and what has no letters (emoji) is left out.
func plain(text string) string { return unidecode.Unidecode(signs.Replace(text)) }

// transliterated returns m as a piece of its own whose text is plain, and false
// where that changes nothing, or something else: a placeholder that only the
// plain text has.
func transliterated(p *envelope.Piece, m *envelope.Message) (*envelope.Piece, bool) {
	if p.Form != nil {
		return nil, false // the gateway keeps the text
	}
	out, one := *p, *m
	out.Text = plain(p.Text)
	before, after := p.Text, out.Text
	if p.Template {
		one.Variables = make(map[string]string, len(m.Variables))
		for name, value := range m.Variables {
			one.Variables[name] = plain(value)
		}
		var err error
		if before, err = envelope.Render(p.Text, m.Variables); err != nil {
			return nil, false
		}
		if after, err = envelope.Render(out.Text, one.Variables); err != nil {
			return nil, false
		}
	}
	if after == before || after != plain(before) {
		return nil, false
	}
	var err error
	if _, one.Segments, err = envelope.CheckText(after); err != nil {
		return nil, false // spelled out it is too long
	}
	out.Messages = []envelope.Message{one}
	return &out, true
}

// choose routes a message of p. Where no account can carry it as it is written,
// and its tenant allows that, it is routed with its text in ASCII: as is then the
// piece that it is the only message of, and m has the segments that this takes.
func (in *Ingest) choose(p *envelope.Piece, m *envelope.Message, want route.Want) (chosen []string, as *envelope.Piece, err error) {
	chosen, err = in.routes.Choose(view(p, m), want, in.check)
	if t := in.tenants[p.Tenant]; err == nil || t == nil || !t.Transliterate {
		return chosen, nil, err
	}
	as, ok := transliterated(p, m)
	if !ok {
		return nil, nil, err
	}
	chosen, other := in.routes.Choose(view(as, &as.Messages[0]), want, in.check)
	if other != nil {
		return nil, nil, err // of what was written
	}
	m.Segments = as.Messages[0].Segments
	return chosen, as, nil
}
