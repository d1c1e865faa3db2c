package cli

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar is a progress bar on a terminal, and nothing elsewhere.
type bar struct{ p *progressbar.ProgressBar }

// few is how many recipients are sent before a bar could be drawn.
const few = 100

func (t *tuma) bar(total int, what string) *bar {
	if t.json || total < few || !isTerminal(t.Stderr) {
		return &bar{}
	}
	return &bar{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(t.Stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("msg"),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetRenderBlankState(true), // starts its clock now, not at the first envelope
		progressbar.OptionClearOnFinish(),
	)}
}

// Errors of drawing are dropped: the work goes on without a picture.

func (b *bar) add(n int) {
	if b.p != nil {
		_ = b.p.Add(n)
	}
}

func (b *bar) set(n int) {
	if b.p != nil {
		_ = b.p.Set(n)
	}
}

func (b *bar) done() {
	if b.p != nil {
		_ = b.p.Clear()
		_ = b.p.Exit()
	}
}
