package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// source gives the envelopes of one tuma send, one at a time.
type source interface {
	// next returns an envelope and, for a file, the lines of its recipients;
	// io.EOF after the last.
	next() (env *envelope.Envelope, lines []int, err error)
	many() bool // whether there may be more than one envelope
	close()
}

// perEnvelope is how many rows share an envelope. Cost is per envelope, and one
// of 1,000 is stored as one piece; larger ones would only be cut again.
const perEnvelope = envelope.MaxPiece

// maxEnvelopeBytes ends an envelope early where values are long.
const maxEnvelopeBytes = 4 << 20

// source returns the envelopes and the number of recipients in all. Every mistake
// in a file is found here, before anything is sent.
func (s *sendFlags) source(base *envelope.Envelope, stdin io.Reader) (source, int, error) {
	if s.csv == "" {
		if len(s.to) > envelope.MaxRecipients {
			return nil, 0, fmt.Errorf("--to names %d numbers; more than %d go by --csv", len(s.to), envelope.MaxRecipients)
		}
		return newList(base, s.to), len(s.to), nil
	}
	tab, err := openTable(s.csv, strings.Join(append(s.params, s.text), "\n"), stdin)
	if err != nil {
		return nil, 0, err
	}
	rows, err := tab.count()
	if err == nil && s.supersede != "" && rows > perEnvelope {
		err = fmt.Errorf("--supersede-key goes with up to %d rows: each envelope would cancel the one before", perEnvelope)
	}
	if err != nil {
		tab.close()
		return nil, 0, err
	}
	return &rowSource{table: tab, base: base, size: rows}, rows, nil
}

// list is the envelope of --to.
type list struct{ env *envelope.Envelope }

func newList(base *envelope.Envelope, to []string) *list {
	for i := range to {
		to[i] = strings.TrimSpace(to[i])
	}
	if len(to) == 1 {
		base.To = to[0]
	} else {
		for _, n := range to {
			base.Recipients = append(base.Recipients, envelope.Recipient{To: n})
		}
	}
	return &list{base}
}

func (l *list) next() (*envelope.Envelope, []int, error) {
	env := l.env
	l.env = nil
	if env == nil {
		return nil, nil, io.EOF
	}
	return env, nil, nil
}

func (l *list) many() bool { return false }
func (l *list) close()     {}

// rowSource cuts a file into envelopes.
type rowSource struct {
	*table
	base *envelope.Envelope
	size int
	done bool
}

func (r *rowSource) many() bool { return r.size > perEnvelope }

func (r *rowSource) next() (*envelope.Envelope, []int, error) {
	env := *r.base
	var lines []int
	bytes := 0
	for !r.done && len(lines) < perEnvelope && bytes < maxEnvelopeBytes {
		rec, line, err := r.table.next()
		if errors.Is(err, io.EOF) {
			r.done = true
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("the file changed while it was read: %w", err)
		}
		env.Recipients, lines = append(env.Recipients, rec), append(lines, line)
		for _, v := range rec.Variables {
			bytes += len(v)
		}
	}
	if len(lines) == 0 {
		return nil, nil, io.EOF
	}
	return &env, lines, nil
}
