package envelope_test

import (
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
