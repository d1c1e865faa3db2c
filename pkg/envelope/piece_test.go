package envelope_test

import (
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

func TestDigestTellsWhatAPieceCarries(t *testing.T) {
	t.Parallel()
	piece := func(indices ...int) string {
		var p envelope.Piece
		for _, i := range indices {
			p.Messages = append(p.Messages, envelope.Message{Index: i})
		}
		return p.Digest()
	}
	seen := map[string]int{}
	for n, d := range []string{piece(0), piece(1), piece(0, 1), piece(0, 1, 2), piece(0, 2), piece(256), piece(1, 0)} {
		if other, twice := seen[d]; twice {
			t.Errorf("pieces %d and %d have one digest", other, n)
		}
		seen[d] = n
	}
	if again := piece(3, 4); piece(3, 4) != again {
		t.Error("one piece has two digests")
	}
}

func TestPieceThatIngestCannotHaveMade(t *testing.T) {
	t.Parallel()
	good := func() *envelope.Piece {
		return &envelope.Piece{
			ID: "01M7", Tenant: "acme", Origin: &envelope.Origin{Stream: "S", Epoch: 1, Seq: 1},
			Messages: []envelope.Message{{Index: 0, To: "+254712345678", Segments: 1}, {Index: 9999, To: "+254712345678"}},
		}
	}
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*envelope.Piece){
		"no id":           func(p *envelope.Piece) { p.ID = "" },
		"id of a message": func(p *envelope.Piece) { p.ID = "a-1" },
		"long id":         func(p *envelope.Piece) { p.ID = strings.Repeat("x", 65) },
		"id of lines":     func(p *envelope.Piece) { p.ID = "a\nb" },
		"tenant":          func(p *envelope.Piece) { p.Tenant = "a.>" },
		"no messages":     func(p *envelope.Piece) { p.Messages = nil },
		"many messages":   func(p *envelope.Piece) { p.Messages = make([]envelope.Message, 10_001) },
		"negative index":  func(p *envelope.Piece) { p.Messages[0].Index = -1 },
		"large index":     func(p *envelope.Piece) { p.Messages[1].Index = 10_000 },
		"index twice":     func(p *envelope.Piece) { p.Messages[1].Index = 0 },
		"no number":       func(p *envelope.Piece) { p.Messages[0].To = "" },
		"injection":       func(p *envelope.Piece) { p.Messages[0].To = "+254712345678&x=y" },
		"segments":        func(p *envelope.Piece) { p.Messages[0].Segments = -1 },
		"no place":        func(p *envelope.Piece) { p.Origin.Seq = 0 },
		"no stream":       func(p *envelope.Piece) { p.Origin.Stream = "" },
	} {
		p := good()
		if spoil(p); p.Check() == nil {
			t.Errorf("%s passes", name)
		}
	}
}
