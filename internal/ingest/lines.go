package ingest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

const (
	chunksAtOnce  = 64                     // of one request, under way
	chunkLines    = 32                     // that are taken together ...
	chunkBytes    = 64 << 10               // ... or so many bytes
	shareBytes    = maxBody / chunksAtOnce // of what one request may have in memory
	maxLineErrors = 1000                   // that a summary lists
	writeWithin   = 30 * time.Second
)

// errStopping is why a body is not read to its end.
var errStopping = errors.New("ingest: stopping")

// line is one envelope of an NDJSON body and what became of it.
type line struct {
	number int
	data   []byte
	answer *Answer
	err    *Problem
}

// chunk is some lines that arrived together: they are handed to the bus one after
// the other, and only then waited for.
type chunk struct {
	lines []line
	bytes int
	done  chan struct{} // closed once every line has its answer or error
}

// shares are how many of a request's shares of memory a chunk takes.
func (c *chunk) shares() int { return min(1+c.bytes/shareBytes, chunksAtOnce) }

// postLines takes a body of one envelope a line, of any length: chunksAtOnce
// chunks, of maxBody bytes in all, are in memory at a time, and a client that does not read its answer, or
// is over its rate, is read from no further. A line that is refused does not
// stop the others; the bus being away does.
func (in *Ingest) postLines(ctx context.Context, w http.ResponseWriter, r *http.Request, s submission) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.wait = true
	var out lineSink = &summary{dryRun: s.dryRun, batches: map[string]int{}}
	if s.brief = true; accepts(r, typeNDJSON) {
		s.brief, out = false, newLineStream(w, s.dryRun)
	}
	order := make(chan *chunk, chunksAtOnce)
	room := make(chan struct{}, chunksAtOnce) // shares of the memory: a chunk of one large line takes several
	told := make(chan struct{})
	go func() { // ends when order is closed, which is waited for below
		defer close(told)
		for c := range order {
			<-c.done
			for i := range c.lines {
				if !out.add(&c.lines[i]) {
					stop()
				}
			}
			for range c.shares() {
				<-room
			}
		}
	}()
	most := chunkLines
	if in.quota.limits(s.tenant.Name) { // a line that waits for its turn must not hold up the answer of another
		most = 1
	}
	readErr := in.readLines(ctx, w, r, most, func(c *chunk) {
		for range c.shares() {
			room <- struct{}{}
		}
		order <- c
		go in.takeChunk(ctx, s, c)
	})
	close(order)
	<-told
	return out.end(w, readErr)
}

// takeChunk submits the lines of a chunk. Those with a key ask Redis first, each
// by itself.
func (in *Ingest) takeChunk(ctx context.Context, s submission, c *chunk) {
	defer close(c.done)
	var keyed sync.WaitGroup
	under := make([]*begun, len(c.lines))
	for i := range c.lines {
		l := &c.lines[i]
		one, err := survive(in.log, func() (submission, error) { return s.line(l) })
		switch {
		case err != nil:
			l.end(nil, err, s)
		case one.key != "" || one.dryRun:
			keyed.Go(func() {
				rec, err := survive(in.log, func() (*receipt, error) { return in.submit(ctx, one) })
				in.countRefused(one, rec, err)
				l.end(rec, err, s)
			})
		default:
			if under[i], err = survive(in.log, func() (*begun, error) { return in.begin(ctx, one) }); err != nil {
				under[i] = nil
				in.countRefused(one, nil, err)
				l.end(nil, err, s)
				continue
			}
			in.hand(under[i])
		}
	}
	kept, accepted := context.WithoutCancel(ctx), tally{}
	for i, b := range under {
		if b != nil {
			rec, err := in.finish(kept, b, accepted.add)
			in.countRefused(s, rec, err)
			c.lines[i].end(rec, err, s)
		}
	}
	for account, n := range accepted {
		in.count(account, envelope.Accepted, n)
	}
	keyed.Wait()
}

// survive calls do and makes an error of a panic. Nobody above a chunk's goroutine
// would: a line that an adapter's check falls over would end the process, for all
// tenants, each time that its client tries again.
func survive[T any](log *slog.Logger, do func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil { // its words may quote the line
			log.Error("line panicked", "kind", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = fmt.Errorf("ingest: panic of %T", p)
		}
	}()
	return do()
}

// tally counts what was accepted for accounts.
type tally map[string]int

func (t tally) add(account string, _ envelope.Status, n int) { t[account] += n }

// line is the submission of one line.
func (s submission) line(l *line) (one submission, err error) {
	if l.data == nil {
		return s, problem(http.StatusRequestEntityTooLarge, codeTooLarge, "the line is longer than "+strconv.Itoa(maxLine)+" bytes")
	}
	if s.env, err = envelope.Decode(l.data); err != nil {
		return s, decodeProblem(err)
	}
	if s.key != "" {
		s.key += "-" + strconv.Itoa(l.number)
	}
	s.key, err = agree(s.key, s.env.IdempotencyKey)
	return s, err
}

// end keeps what became of a line, in brief where nobody reads more.
func (l *line) end(rec *receipt, err error, s submission) {
	l.data = nil
	switch {
	case err == nil && s.brief:
		l.answer = &Answer{Counts: Counts{len(rec.piece.Messages), len(rec.refused)}, Errors: rec.refused, Batches: rec.batches}
	case err == nil:
		l.answer = rec.answer(s.dryRun)
	case !errors.As(err, &l.err):
		l.err = problem(http.StatusInternalServerError, codeInternal, "")
		l.err.cause = err
	}
}

// readLines calls take for the lines that are not blank, up to most at a time,
// and at once for those that are there when the next is not. A line that is too
// long is passed over and told by a nil data.
func (in *Ingest) readLines(ctx context.Context, w http.ResponseWriter, r *http.Request, most int, take func(*chunk)) error {
	rc, stopping := http.NewResponseController(w), service.Stopping(ctx)
	b := bufio.NewReaderSize(r.Body, 64<<10)
	c := &chunk{done: make(chan struct{})}
	flush := func() {
		if len(c.lines) > 0 {
			take(c)
			c = &chunk{lines: make([]line, 0, most), done: make(chan struct{})}
		}
	}
	defer func() { flush() }()
	for number := 1; ; number++ {
		select {
		case <-ctx.Done():
			return nil
		case <-stopping:
			return unavailable(errStopping)
		default:
		}
		if ahead, _ := b.Peek(b.Buffered()); bytes.IndexByte(ahead, '\n') < 0 { // it may take a while
			flush()
			_ = rc.SetReadDeadline(time.Now().Add(bodyWithin)) // tests' recorders have no deadlines
		}
		data, err := readLine(b)
		if err != nil && !errors.Is(err, io.EOF) {
			return bodyProblem(err)
		}
		if data == nil || !blank(data) {
			c.lines = append(c.lines, line{number: number, data: data})
			if c.bytes += len(data); len(c.lines) >= most || c.bytes >= chunkBytes {
				flush()
			}
		}
		if err != nil {
			return nil
		}
	}
}

// readLine returns the next line, never nil unless it is longer than maxLine.
func readLine(b *bufio.Reader) ([]byte, error) {
	data := []byte{}
	for {
		part, err := b.ReadSlice('\n')
		if data != nil && len(data)+len(part) <= maxLine {
			data = append(data, part...)
		} else {
			data = nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return data, err
		}
	}
}

func blank(data []byte) bool {
	for _, c := range data {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}
