package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Headers of our own on the bus. A client's headers are never copied.
const (
	headerBody  = "Tuma-Body" // fingerprint of the submission that was accepted under a key
	headerTrace = "traceparent"
)

// roomForHeaders is left beside a payload in the server's limit.
const roomForHeaders = 4 << 10

// outgoing is an accepted submission on its way to where it is stored first: a
// routed piece to its account's queue, any other as a whole to the tenant's own
// stream, for the Hop to cut.
func (in *Ingest) outgoing(p *envelope.Piece, msgID string) (bus.Out, error) {
	if p.Account != "" {
		return queued(p, msgID), nil
	}
	o := out(p, bus.AcceptedSubject(p.Tenant, string(p.Priority)), msgID)
	o.Pack()
	if limit := in.bus.MaxPayload(); limit > 0 && int64(len(o.Data)) > limit-roomForHeaders {
		return o, problem(http.StatusRequestEntityTooLarge, codeTooLarge, "the submission is larger than the bus takes; send it in parts")
	}
	return o, nil
}

// queued is a routed piece on its way to its account's queue.
func queued(p *envelope.Piece, msgID string) bus.Out {
	return out(p, bus.QueueSubject(p.Account, string(p.Priority), p.Tenant), msgID)
}

func out(p *envelope.Piece, subject, msgID string) bus.Out {
	return bus.Out{Subject: subject, Data: envelope.AppendPiece(nil, p), MsgID: msgID}
}

// store publishes, and once more with the same id if no answer came: stored
// once, whichever of the two it was. A client that leaves does not stop it: what
// it submitted is stored or not, and its key (nil: it has none) says so.
func (in *Ingest) store(ctx context.Context, o bus.Out, k *held) (bus.Ack, error) {
	if k != nil {
		if o.Header == nil {
			o.Header = bus.Header{}
		}
		o.Header[headerBody] = []string{header(k.body)}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.left())
	defer cancel()
	ack, err := in.bus.Publish(ctx, o)
	if !errors.Is(err, bus.ErrUnavailable) {
		return ack, err
	}
	if k != nil {
		k.open = true
	}
	if in.bus.Connected() {
		if again, err := in.bus.Publish(ctx, o); err == nil {
			return again, nil
		}
	}
	return ack, err
}

// unpack decodes a piece.
func unpack(m *bus.Msg) (*envelope.Piece, error) {
	p := new(envelope.Piece)
	if err := envelope.DecodePiece(m.Data, p); err != nil {
		return nil, fmt.Errorf("ingest: piece: %w", err)
	}
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("ingest: piece: %w", err)
	}
	return p, nil
}

// origin names the place where a message was stored.
func (in *Ingest) origin(ctx context.Context, stream string, seq uint64) (envelope.Origin, error) {
	epoch, err := in.bus.Epoch(ctx, stream)
	if err != nil {
		return envelope.Origin{}, err
	}
	return envelope.Origin{Stream: stream, Epoch: epoch, Seq: seq}, nil
}
