package llmsim

// ring is a queue in a ring buffer that grows as needed. Its zero value is empty. front, at, popFront and swap need an
// element at that place.
type ring[T comparable] struct {
	items []T // length is a power of two, or zero
	head  int
	n     int
}

func (r *ring[T]) len() int { return r.n }

// slot is where the i-th element from the front is stored.
func (r *ring[T]) slot(i int) *T { return &r.items[(r.head+i)&(len(r.items)-1)] }

func (r *ring[T]) front() T { return *r.slot(0) }

func (r *ring[T]) at(i int) T { return *r.slot(i) }

func (r *ring[T]) swap(i, j int) {
	a, b := r.slot(i), r.slot(j)
	*a, *b = *b, *a
}

func (r *ring[T]) pushBack(v T) {
	r.reserve()
	r.n++
	*r.slot(r.n - 1) = v
}

func (r *ring[T]) pushFront(v T) {
	r.reserve()
	r.head = (r.head - 1) & (len(r.items) - 1)
	r.n++
	*r.slot(0) = v
}

func (r *ring[T]) popFront() T {
	var none T
	first := r.slot(0)
	v := *first
	*first = none
	r.head = (r.head + 1) & (len(r.items) - 1)
	r.n--
	return v
}

// remove takes out the first element that equals v. Without one it does nothing.
func (r *ring[T]) remove(v T) {
	for i := range r.n {
		if r.at(i) != v {
			continue
		}
		for ; i < r.n-1; i++ {
			r.swap(i, i+1)
		}
		var none T
		*r.slot(r.n - 1) = none
		r.n--
		return
	}
}

// reserve makes room for one more.
func (r *ring[T]) reserve() {
	if r.n < len(r.items) {
		return
	}
	bigger := make([]T, max(16, 2*len(r.items)))
	for i := range r.n {
		bigger[i] = r.at(i)
	}
	r.items, r.head = bigger, 0
}
