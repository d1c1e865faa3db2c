package bus

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Out is a message to be stored.
type Out struct {
	Subject string
	Header  Header
	Data    []byte
	MsgID   string // Nats-Msg-Id: a repeat inside the stream's window (2 min) is stored once; empty: none
	// SchedID and At make it a schedule: it is stored in the delay stream and
	// appears on Subject (which must be an sms.due.… one) at At, never before,
	// up to about a second after. A repeat with the same SchedID is stored once
	// inside the stream's window, whatever its At; MsgID is not used.
	SchedID string
	At      time.Time
	stuck   uint64 // stored only in the place of the schedule at this sequence
}

// After makes it stored only if seq is its stream's last sequence, and ErrOvertaken
// if it is not: for those who write several messages that belong together.
func (o *Out) After(seq uint64) {
	if o.Header == nil {
		o.Header = Header{}
	}
	o.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(seq, 10)}
}

// Ack says where a message was stored.
type Ack struct {
	Stream    string
	Seq       uint64
	Duplicate bool // it was there already; Seq is the first one's
}

// Publish stores one message and waits for the ack. ErrUnavailable leaves it
// open whether it was stored.
func (b *Bus) Publish(ctx context.Context, o Out) (Ack, error) {
	m, opts := o.message()
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	a, err := b.js.PublishMsg(ctx, m, opts...)
	if err != nil {
		return Ack{}, typed("publish", err)
	}
	return Ack{a.Stream, a.Sequence, a.Duplicate}, nil
}

// PublishAsync hands a message over; at most some thousands are under way, then
// it blocks. The outcome comes from Wait.
func (b *Bus) PublishAsync(o Out) (Pending, error) {
	m, opts := o.message()
	if len(opts) > 0 {
		return Pending{}, errors.New("bus: schedules are published by Publish")
	}
	p, err := b.out.publish(m)
	if err != nil {
		return Pending{}, typed("publish", err)
	}
	return p, nil
}

func (o Out) message() (*nats.Msg, []jetstream.PublishOpt) {
	m := &nats.Msg{Subject: o.Subject, Header: o.Header, Data: o.Data}
	var opts []jetstream.PublishOpt
	if o.SchedID != "" && o.stuck == 0 {
		o.MsgID = "delay-" + o.SchedID
	}
	if o.MsgID != "" { // as jetstream.WithMsgID does, which allocates for it
		if m.Header == nil {
			m.Header = make(nats.Header, 1)
		}
		m.Header[jetstream.MsgIDHeader] = []string{o.MsgID}
	}
	if o.SchedID != "" {
		m.Subject, opts = o.schedule()
	}
	return m, opts
}

// Delete removes one message of a stream.
func (b *Bus) Delete(ctx context.Context, stream string, seq uint64) error {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return err
	}
	if err := s.DeleteMsg(ctx, seq); err != nil {
		return typed("delete", err)
	}
	return nil
}
