package envelope

import "errors"

// maxEnvelopeID is more than any envelope's id has: derived ones are shorter.
const maxEnvelopeID = 64

// errPiece is what is wrong with a piece that ingest cannot have made. It has no
// details: they would be a message's.
var errPiece = errors.New("envelope: not a piece that ingest makes")

// Check reports whether p can have been made by ingest: whoever may write to a
// queue may write anything, and others rely on what ingest checks. It does not
// look at texts, which adapters check, nor at times.
func (p *Piece) Check() error {
	if p.ID == "" || len(p.ID) > maxEnvelopeID || !ValidName(p.Tenant) || len(p.Messages) == 0 || len(p.Messages) > MaxRecipients {
		return errPiece
	}
	for i := range len(p.ID) {
		if c := p.ID[i]; c <= ' ' || c > '~' || c == '-' { // - ends an envelope's id in a message's
			return errPiece
		}
	}
	if o := p.Origin; o != nil && (o.Stream == "" || len(o.Stream) > 64 || o.Seq == 0) {
		return errPiece
	}
	last := -1
	for i := range p.Messages {
		m := &p.Messages[i]
		if m.Index <= last || m.Index >= MaxRecipients || !ValidNumber(m.To) || m.Segments < 0 || m.Segments > 255 {
			return errPiece
		}
		last = m.Index
	}
	return nil
}
