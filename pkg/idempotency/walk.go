package idempotency

// unsaid stands for what a run says of a message if it says nothing, or nothing
// an outcome can do: no outcome takes a message.
const unsaid = Taken

// walk brings the stretches that spans name to their segments, as many at a time
// as lie there in rising order, so that each segment is rebuilt once.
type walk struct {
	fold *Fold
	do   verdict

	lane   *lane
	no     uint64
	pieces []piece

	judging bool  // for an outcome
	runs    []Run // what is left of its runs
	said    uint64
	to      State
}

// each asks for the new value of every message that the spans name, in turn if
// one of them is named twice.
func (f *Fold) each(spans []Span, do verdict) {
	w := walk{fold: f, do: do, pieces: f.pieces[:0]}
	w.narrow(spans)
	w.wide(spans)
	f.pieces = w.pieces
}

// judge is each for an outcome: the pieces carry what its runs say.
func (f *Fold) judge(spans []Span, runs []Run, do verdict) {
	w := walk{fold: f, do: do, pieces: f.pieces[:0], judging: true, runs: runs}
	w.narrow(spans)
	w.runs, w.said = runs, 0
	w.wide(spans)
	f.pieces = w.pieces
	for _, r := range runs {
		if r.To == unsaid || r.To > Closed {
			f.ignored++
		}
	}
}

// narrow goes through the messages with index 0.
func (w *walk) narrow(spans []Span) {
	at := uint64(0)
	for i := range spans {
		s := &spans[i]
		run, first, end, _ := s.shape()
		if first == 0 && end > 0 {
			l := &w.fold.book(s.Stream, s.Epoch).narrow
			for done := uint64(0); done < run; {
				no, off := locate(s.Seq + done)
				n := min(run-done, 1<<segmentBits-off)
				w.add(l, no, off, n, at+done)
				done += n
			}
		}
		at += run * (end - first)
	}
	w.flush()
}

// wide goes through the others.
func (w *walk) wide(spans []Span) {
	at := uint64(0)
	for i := range spans {
		s := &spans[i]
		run, first, end, _ := s.shape()
		if lo := max(first, 1); lo < end {
			no, off := locate(s.Seq)
			l := &w.fold.book(s.Stream, s.Epoch).wide
			w.add(l, no, off<<indexBits|lo, end-lo, at+lo-first)
		}
		at += run * (end - first)
	}
	w.flush()
}

// add takes in n neighbouring messages, the first of them at position lo of its
// segment and at of the record.
func (w *walk) add(l *lane, no, lo, n, at uint64) {
	if k := len(w.pieces); l != w.lane || no != w.no || k > 0 && lo < w.pieces[k-1].hi {
		w.flush()
		w.lane, w.no = l, no
	}
	if !w.judging {
		w.pieces = append(w.pieces, piece{lo: lo, hi: lo + n, at: at})
		return
	}
	for n > 0 {
		for w.said <= at && len(w.runs) > 0 {
			w.said += uint64(w.runs[0].N)
			if w.to = w.runs[0].To; w.to > Closed {
				w.to = unsaid
			}
			w.runs = w.runs[1:]
		}
		m, to := n, unsaid
		if at < w.said {
			m, to = min(n, w.said-at), w.to
		}
		w.pieces = append(w.pieces, piece{lo, lo + m, at, to})
		lo, at, n = lo+m, at+m, n-m
	}
}

func (w *walk) flush() {
	if len(w.pieces) > 0 {
		w.fold.cells = w.lane.update(w.no, w.pieces, w.fold.cells, w.do)
		w.pieces = w.pieces[:0]
	}
}
