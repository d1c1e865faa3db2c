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

// storePiece stores a routed piece in its account's queue.
func (in *Ingest) storePiece(ctx context.Context, p *envelope.Piece, msgID, fingerprint string) (bus.Ack, error) {
	o := queued(p, msgID)
	mark(&o, fingerprint)
	return in.store(ctx, o)
}

// storeWhole stores a submission as one, for the Hop to cut.
func (in *Ingest) storeWhole(ctx context.Context, p *envelope.Piece, msgID, fingerprint string) (bus.Ack, error) {
	o := out(p, bus.AcceptedSubject(p.Tenant, string(p.Priority)), msgID)
	o.Pack()
	if limit := in.bus.MaxPayload(); limit > 0 && int64(len(o.Data)) > limit-roomForHeaders {
		return bus.Ack{}, problem(http.StatusRequestEntityTooLarge, codeTooLarge, "the submission is larger than the bus takes; send it in parts")
	}
	mark(&o, fingerprint)
	return in.store(ctx, o)
}

// queued is a routed piece on its way to its account's queue.
func queued(p *envelope.Piece, msgID string) bus.Out {
	return out(p, bus.QueueSubject(p.Account, string(p.Priority), p.Tenant), msgID)
}

func out(p *envelope.Piece, subject, msgID string) bus.Out {
	o := bus.Out{Subject: subject, Header: bus.Header{}, Data: envelope.AppendPiece(nil, p), MsgID: msgID}
	if p.Traceparent != "" {
		o.Header[headerTrace] = []string{p.Traceparent}
	}
	return o
}

func mark(o *bus.Out, fingerprint string) {
	if fingerprint != "" {
		o.Header[headerBody] = []string{fingerprint}
	}
}

// store publishes, and once more with the same id if no answer came: stored
// once, whichever of the two it was. A client that leaves does not stop it: what
// it submitted is stored or not, and its key says so.
func (in *Ingest) store(ctx context.Context, o bus.Out) (bus.Ack, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeFor)
	defer cancel()
	ack, err := in.bus.Publish(ctx, o)
	if errors.Is(err, bus.ErrUnavailable) && in.bus.Connected() {
		ack, err = in.bus.Publish(ctx, o)
	}
	return ack, err
}

// unpack decodes a piece.
func unpack(m *bus.Msg) (*envelope.Piece, error) {
	p := new(envelope.Piece)
	if err := envelope.DecodePiece(m.Data, p); err != nil {
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
