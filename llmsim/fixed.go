package llmsim

// runFixed gives every stream its tokens at fixed times after it was read: TTFT, TTFT+ITL, TTFT+2·ITL, …
//
// All first tokens are owed in the order of arrival, and all further tokens in the order in which their forerunners
// were owed: two queues do, and no heap is needed.
func (l *loop) runFixed() {
	defer close(l.done)
	var (
		first, next ring[*stream]
		ttft        = int64(l.server.cfg.TTFT)
		itl         = int64(l.server.cfg.ITL)
		m           = &l.server.metrics
		running     int
		// A sleep no longer than this cannot oversleep the first token of a request that arrives meanwhile.
		nap = min(max(ttft, 50_000), longestNap)
	)
	for {
		incoming, aborting, stop := l.take()
		if stop {
			return
		}
		for _, st := range incoming {
			st.loopPos.due = st.arrival + ttft
			pushByDue(&first, st)
			m.submitted(&st.seq)
			running++
		}
		for _, st := range aborting {
			if !st.loopPos.released {
				running--
				l.release(st, "abort")
			}
		}

		queue := &first
		if first.len() == 0 || next.len() > 0 && next.front().loopPos.due < first.front().loopPos.due {
			queue = &next
		}
		m.running.Store(int64(running))
		if queue.len() == 0 {
			<-l.kick
			continue
		}
		st := queue.front()
		if st.loopPos.released {
			queue.popFront()
			continue
		}
		due, now := st.loopPos.due, l.server.since()
		if due > now {
			l.sleep(min(due, now+nap))
			continue
		}
		queue.popFront()
		m.late(now - due)
		// A loop that is late by more than an ITL owes this stream several tokens. They go out in one write: that is
		// cheaper, and so the loop can catch up.
		count := 1
		if itl > 0 {
			count += int((now - due) / itl)
		} else {
			count = st.seq.Output
		}
		count = min(count, st.seq.Output-st.seq.Generated)
		if queue == &first {
			count = 1 // its time is what clients are judged by
			m.prefilled(st.seq.Prompt)
		}
		st.seq.Generated += count
		m.generated.Add(uint64(count))
		if !st.emit(&l.scratch, due, st.seq.Generated, count) {
			running--
			l.release(st, "")
			continue
		}
		st.loopPos.due = due + int64(count)*itl
		pushByDue(&next, st)
	}
}

// pushByDue adds a stream behind all that are due no later. That is nearly always the end: handlers may submit two
// requests in another order than they read them.
func pushByDue(q *ring[*stream], st *stream) {
	q.pushBack(st)
	for i := q.len() - 1; i > 0 && q.at(i-1).loopPos.due > st.loopPos.due; i-- {
		q.swap(i-1, i)
	}
}
