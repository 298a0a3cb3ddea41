package loadgen

// arena hands out records that never move.
type arena struct {
	details bool
	slabs   []slab
	count   int // handed out
}

type slab struct {
	records []Record
	details []Detail
}

const slabSize = 1024

func (a *arena) add() (*Record, *Detail) {
	a.count++
	if n := len(a.slabs); n == 0 || len(a.slabs[n-1].records) == slabSize {
		s := slab{records: make([]Record, 0, slabSize)}
		if a.details {
			s.details = make([]Detail, slabSize)
		}
		a.slabs = append(a.slabs, s)
	}
	s := &a.slabs[len(a.slabs)-1]
	i := len(s.records)
	s.records = s.records[:i+1]
	if !a.details {
		return &s.records[i], nil
	}
	return &s.records[i], &s.details[i]
}

// flatten returns all that was handed out, in order; the arena is empty after.
func (a *arena) flatten() ([]Record, []Detail) {
	n := 0
	for _, s := range a.slabs {
		n += len(s.records)
	}
	records := make([]Record, 0, n)
	var details []Detail
	if a.details {
		details = make([]Detail, 0, n)
	}
	for i, s := range a.slabs {
		records = append(records, s.records...)
		if a.details {
			details = append(details, s.details[:len(s.records)]...)
		}
		a.slabs[i] = slab{}
	}
	a.slabs = nil
	return records, details
}
