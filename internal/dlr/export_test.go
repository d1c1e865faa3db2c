package dlr

// Stale has parked reports count as stale after so many looks.
func (c *Collector) Stale(looks int) { c.fresh = looks }
