//go:build !linux

package strength

import (
	"net"
	"time"
)

// stamped has nothing to offer here: the ledger's time has to do.
type stamped struct{ net.Listener }

func (s *stamped) arrived() []time.Time { return nil }
