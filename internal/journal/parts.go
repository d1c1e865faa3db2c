package journal

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A checkpoint is the fold and what is kept beside it, compressed. It is one
// message if it fits, else parts and a message that names them, which is written
// last: half a checkpoint is none.

const (
	headerFormat = "Tuma-Format"
	headerParts  = "Tuma-Parts" // sequences in the checkpoints' stream
	framed       = "3"

	partLeast   = 256 << 10
	roomInPart  = 16 << 10 // for headers
	maxUnpacked = 2 << 30
)

var errCheckpoint = errors.New("journal: checkpoint cannot be read")

// beside is what a checkpoint keeps beside the fold.
type beside struct {
	Owed []Owing `json:"owed"`
	Ends []End   `json:"ends"`
}

// frame is what a checkpoint says. Callers hold mu.
func (j *Journal) frame() ([]byte, error) {
	var b beside
	for _, seq := range slices.Sorted(maps.Keys(j.owed)) {
		b.Owed = append(b.Owed, j.owed[seq])
	}
	for in, seq := range j.ends {
		b.Ends = append(b.Ends, End{in.stream, in.epoch, seq})
	}
	list, err := json.Marshal(&b)
	if err != nil {
		return nil, fmt.Errorf("journal: checkpoint: %w", err)
	}
	fold, err := j.fold.MarshalBinary()
	if err != nil {
		return nil, err
	}
	out := binary.AppendUvarint(make([]byte, 0, len(list)+len(fold)+binary.MaxVarintLen64), uint64(len(list)))
	return append(append(out, list...), fold...), nil
}

// unframe is the way back.
func unframe(data []byte, fold *idempotency.Fold) (b beside, err error) {
	n, at := binary.Uvarint(data)
	if at <= 0 || n > uint64(len(data)-at) {
		return b, fmt.Errorf("%w: cut short", errCheckpoint)
	}
	list, rest := data[at:at+int(n)], data[at+int(n):]
	if err := json.Unmarshal(list, &b); err != nil {
		return b, fmt.Errorf("%w: %w", errCheckpoint, err)
	}
	return b, fold.UnmarshalBinary(rest)
}

// writeParts puts data into the head of a checkpoint, or into parts of which it tells
// the head, and stores all of it behind the sequence at, without anything in between:
// of those who write at once one goes on, as parts of several would push each other out.
func (j *Journal) writeParts(ctx context.Context, head *bus.Out, data []byte, at uint64) error {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		return fmt.Errorf("journal: checkpoint: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("journal: checkpoint: %w", err)
	}
	head.Header[headerFormat] = []string{framed}
	size := max(partLeast, int(j.bus.MaxPayload())-roomInPart)
	if j.o.PartSize > 0 {
		size = j.o.PartSize
	}
	store := func(o *bus.Out) error {
		o.After(at)
		ack, err := j.bus.Publish(ctx, *o)
		at = ack.Seq
		return err
	}
	if b.Len() <= size {
		head.Data = b.Bytes()
		return store(head)
	}
	var names []string
	for part := range slices.Chunk(b.Bytes(), size) {
		if err := store(&bus.Out{Subject: bus.CheckpointPart(len(names)), Data: part}); err != nil {
			return err
		}
		names = append(names, strconv.FormatUint(at, 10))
	}
	head.Header[headerParts] = []string{strings.Join(names, ",")}
	return store(head)
}

// readParts is the way back.
func (j *Journal) readParts(ctx context.Context, head *bus.Msg) ([]byte, error) {
	switch f := head.Get(headerFormat); f {
	case framed:
	default:
		return nil, fmt.Errorf("%w: of another version (%q)", errCheckpoint, f)
	}
	data := head.Data
	if names := head.Get(headerParts); names != "" {
		for name := range strings.SplitSeq(names, ",") {
			seq, err := strconv.ParseUint(name, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errCheckpoint, err)
			}
			part, err := j.bus.Get(ctx, bus.CheckpointStream, seq)
			if err != nil {
				return nil, fmt.Errorf("%w: part %d: %w", errCheckpoint, seq, err)
			}
			data = append(data, part.Data...)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCheckpoint, err)
	}
	out, err := io.ReadAll(io.LimitReader(z, maxUnpacked))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCheckpoint, err)
	}
	return out, nil
}
