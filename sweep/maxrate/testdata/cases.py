"""Makes the reference cases for the Go tests of the pooled max-rate estimator.

Usage: python3 cases.py KNEE_FOLDER OUT.json.gz

KNEE_FOLDER is the folder with the Python estimator (pool.py, servers.py, engines.py, today.py, knees.json); it needs
numpy, scipy and numba, and should be writable, for the code that numba compiles. The script searches for the max rate
of simulated servers, rounds what the legs measured so that Go can read exactly the same inputs, and writes what the
estimator says of them ("searches"). "curves" are inputs and outputs of the curve alone. Seeds are fixed: the same
library versions give the same file. q025 ... q975, th0, x and xs are natural logarithms of rates in 1/s; times are
in seconds.
"""
import gzip, json, math, os, sys
import numpy as np

folder, out_path = sys.argv[1], os.path.abspath(sys.argv[2])
sys.path.insert(0, folder)
import pool, servers
from scipy.stats import chi2

USED = ['plain', 'rate', 'twin']
QUANTILES = dict(q025=.025, q16=.16, q50=.5, q84=.84, q975=.975)
SEARCHES = [  # server, budget in s, seed
    ('ref-fixed-90', 80, 4), ('many-exp-90', 60, 7), ('l4-exp-10-ttft+tpot', 180, 1), ('mgk4-pareto-10', 180, 1),
    ('mgk16-exp-10-e2e99', 180, 5), ('ref-exp-90-const', 70, 7), ('ref-fixed-90-spells', 100, 5),
    ('mgk16-exp-10-e2e99', 180, 6), ('mgk4-exp-1', 180, 1), ('l4-const-10-spells', 180, 7)]

def num(x):
    """a JSON number, or None."""
    if x is None: return None
    x = float(x)
    if not math.isfinite(x): return None
    return int(x) if x == int(x) and abs(x) < 1e15 else x
def nums(a): return [num(x) for x in a]
def r6(a): return np.round(np.asarray(a, dtype=float), 6)

loglik = []      # of every fit of the last virtual queue
fit_logistic = pool.logistic2
def logistic(v, y, ridge):
    r = fit_logistic(v, y, ridge); loglik.append(r[2])
    return r
pool.logistic2 = logistic

class Seen(pool.Pool):
    """a Pool that keeps what passes through it."""
    infls = [1.]
    @property
    def infl(s): return s.infls[-1]
    @infl.setter
    def infl(s, v): s.infls = s.infls + [v]
    def twin(s, k):
        loglik.clear(); T = super().twin(k)
        s.queue = None if T is None else dict(T, loglik=list(loglik))
        return T
    def summaries(s, k, slope=15.):
        r = super().summaries(k, slope)
        s.calls.append(dict(variant=s.variant, slope_in=slope, S=r[0], phi=r[1], nu=r[2], ratio=s.ratio,
                            clusters=s.clus, twin_slope=s.twin_slope))
        return r
    def _post(s, S, phi, nu, pi, place, sl0=15., th0=None):
        r = super()._post(S, phi, nu, pi, place, sl0, th0)
        if s.calls: s.calls[-1].update(th0_in=th0, neff=s.neff, done=True)
        return r

def rows(S):
    out = []
    for x, n, k, off, tl, grow, w in S:
        kind, val = off if isinstance(off, tuple) else ('', 0.)
        out.append([num(x), int(n), int(k), kind, num(val), num(tl), bool(grow), num(w)])
    return out
def unrows(R): return [[x, n, k, (kind, val) if kind else 0., tl, grow, w] for x, n, k, kind, val, tl, grow, w in R]

def inflation(x2, j):
    """as in _post."""
    f = (x2 + 2) / j if j > 2 else 1.
    if f <= 1: return 1.
    return max(f, x2 / (j - 2)) if x2 > chi2.ppf(.9, j - 2) else f

def answers(P, v):
    P.variant = v; objs = []; m = len(P.srv.objs)
    for k in range(m):
        P.calls = []; P.queue = None
        W = P.posterior(k); used = USED[P.last['used']]
        c = [c for c in P.calls if c['variant'] == used and 'done' in c][-1]
        o = dict(phi=num(P.last['phi']), nu=num(P.last['nu']), clusters=num(P.last['clus']), ratio=num(P.ratio),
                 slope=num(P.last['slope']), x2=num(P.X2[0]), j=P.X2[1], infl=num(inflation(*P.X2)),
                 neff=num(c['neff']), used=used,
                 q_upper=num(P.quant(W, 1 - .025 / m)))
        for q, p in QUANTILES.items(): o[q] = num(P.quant(W, p))
        o['first_cell'], o['last_cell'] = num(W[0]), num(W[-1])
        o['final'] = dict(slope_in=num(c['slope_in']), th0_in=num(c['th0_in']), phi=num(c['phi']), nu=num(c['nu']),
                          ratio=num(c['ratio']), clusters=num(c['clusters']), twin_slope=num(c['twin_slope']),
                          summaries=rows(c['S']))
        if v == 'twin':
            q = P.queue
            o['twin'] = q and dict(c=num(q['c']), a=num(q['a']), b=num(q['b']), xs=nums(q['xs']), mu=nums(q['mu']),
                                   twin_slope=num(c['twin_slope']), loglik=num(max(q['loglik'])),
                                   tried=nums(q['loglik']))
        objs.append(o)
    lo, est, hi, j = P.answer()
    return dict(objectives=objs, lo=num(lo), est=num(est), hi=num(hi), limiting=j)

def search(srv, known, budget, seed, unit):
    rs = lambda u: np.random.default_rng([seed, u, budget])
    prof = srv.profile(budget * 1.3 + 60, rs(1)); sat = known['cap'] * rs(2).uniform(.95, 1.05)
    P = pool.search(srv, budget, rs(4), sat, prof, cont=False)
    P.__class__ = Seen; P.__dict__.pop('infl'); P.calls = []
    # The first leg lies at .75 sat, which is also the first th0: whether it is "below" would hang on a last digit.
    sat = P.sat = round(sat, 3)
    P.th = np.linspace(math.log(.03 * sat), math.log(1.6 * sat), 500)
    P.uw = np.minimum(r6(P.uw), .999999)
    poisson = srv.arrival == 'poisson'
    if poisson: P.u = r6(P.u); unit['u'] = nums(P.u)
    unit['uw' if poisson else 'uw_regular'] = nums(P.uw); legs = []
    for L in P.legs:
        L['arr'] = r6(L['arr']); L['pre'] = (r6(L['pre'][0]), L['pre'][1])
        L['obj'] = [(L['arr'][idx], y, r6(val), idx) for t, y, val, idx in L['obj']]
        legs.append(dict(rate=num(L['rate']), at=num(L['at']), stay=num(L['stay']), growing=bool(L['grow']),
                         arrivals=nums(L['arr']), tokens=nums(L['tok']),
                         objectives=[dict(index=nums(idx), miss=nums(y), value=nums(val))
                                     for t, y, val, idx in L['obj']]))
        legs[-1]['from'] = num(L['frm'])
    c = dict(name='%s/%d/%d' % (srv.name, budget, seed), poisson=poisson, sat=num(sat), knee=num(known['knee']),
             K=num(pool.kphi(srv)), slope_prior_sd=P.sp[1],
             objectives=[dict(metric=m, bound=b, pi=pi) for m, b, pi in srv.objs], legs=legs)
    c['want'] = {v: answers(P, v) for v in ('plain', 'rate', 'twin', 'best') if v != 'rate' or poisson}
    return c

class Stub: pass

def curve(name, R, phi, nu, pi=.05, sat=100., poisson=True, K=3., ratio=1., twin_slope=None, place=False,
          sl0=15., th0=None):
    srv = Stub(); srv.arrival = 'poisson' if poisson else 'constant'; srv.K = K
    P = Seen(srv, sat, 'plain', None); P.ratio = ratio; P.twin_slope = twin_slope; P.calls = []; P.infls = [1.]
    if th0 is None: th0 = math.log(.75 * sat)
    W, sl, phi2, nu2 = P._post(unrows(R), phi, nu, pi, place, sl0, th0)
    infl = inflation(*P.X2)
    assert infl == max(P.infls) and P.infl == 1., (name, infl, P.infls)
    want = dict(phi=num(phi2), nu=num(nu2), slope=num(sl), x2=num(P.X2[0]), j=P.X2[1], infl=num(infl),
                neff=num(P.neff), weight_first_cell=num(W[0]),
                weight_last_cell=num(W[-1]))
    for q, p in QUANTILES.items(): want[q] = num(P.quant(W, p))
    return dict(name=name, summaries=R, phi=num(phi), nu=num(nu), pi=pi, sat=num(sat), poisson=poisson, K=num(K),
                ratio=num(ratio), twin_slope=num(twin_slope), slope_prior_sd=P.sp[1], place=place, sl0=num(sl0),
                th0=num(th0), want=want)

def row(rate, n, k, kind='', off=0., tl=8., grow=False, w=1.): return [math.log(rate), n, k, kind, off, tl, grow, w]

def curves(searches):
    out = []
    pick = [(0, 'twin', 0), (1, 'rate', 0), (2, 'twin', 1), (3, 'best', 0), (5, 'twin', 0), (7, 'plain', 0)]
    for i, v, k in pick:
        s = searches[i]; o = s['want'][v]['objectives'][k]; f = o['final']
        c = curve('%s %s %d' % (s['name'], v, k), f['summaries'], f['phi'], f['nu'], s['objectives'][k]['pi'],
                  s['sat'], s['poisson'], s['K'], f['ratio'], f['twin_slope'], False, f['slope_in'], f['th0_in'])
        assert all(abs(c['want'][q] - o[q]) < 1e-12 for q in QUANTILES) and c['want']['nu'] == o['nu'], c['name']
        out.append(c)
    three = [row(75, 700, 8), row(84, 2000, 60), row(90, 2000, 190)]
    mixed = [row(70, 700, 0, tl=30.), row(80, 1500, 40), row(84, 1500, 75), row(88, 1800, 110), row(92, 1800, 260),
             row(105, 800, 520, tl=60.)]
    under = [row(60, 600, 0, tl=4.), row(66, 700, 0, tl=9.), row(73, 2500, 0, tl=1.)]
    over = [row(75, 600, 400), row(60, 500, 380, tl=1e9), row(45, 400, 260, w=.4)]
    growing = mixed[1:4] + [row(96, 900, 150, grow=True), row(99, 900, 30, grow=True, w=.3)]
    offsets = [row(80, 1500, 50, 'a', .4), row(85, 1500, 60, 'a', -.5), row(90, 1500, 160, 'a', .1), row(110, 600, 420)]
    shifts = [row(80, 1500, 50, 's', .02), row(85, 1500, 60, 's', -.015), row(90, 1500, 160, 's', .004)]
    apart = [row(80, 2500, 300), row(83, 2500, 40), row(86, 2500, 420), row(89, 2500, 60), row(91, 2500, 330)]
    close = [row(80, 2000, 95), row(83, 2000, 70), row(86, 2000, 155), row(89, 2000, 125)]
    low = [row(1.2, 60, 1, w=.02), row(1.5, 90, 0, tl=2., w=.1), row(1.9, 150, 4, w=.5), row(2.2, 160, 20)]
    out += [
        curve('no stage', [], 1., 0.),
        curve('one stage', [row(80, 900, 40)], 9., 4.),
        curve('three stages', three, 12., 40.),
        curve('three stages, placing', three, 12., 40., place=True),
        curve('no miss in any stage', under, 1., 0.),
        curve('all over', over, 1., 0.),
        curve('all miss', [row(50, 300, 300, tl=1e9), row(30, 300, 299)], 1., 0., pi=.01),
        curve('growing stages', growing, 15., 25.),
        curve('over, under and between', mixed, 6., 30., poisson=False, K=1.5, sl0=30., th0=math.log(85)),
        curve('queue slope and offsets', offsets, 5., 60., ratio=.35, twin_slope=22., sl0=22., th0=math.log(86)),
        curve('shifts', shifts, 6., 50., ratio=.6, sl0=18., th0=math.log(86)),
        curve('stages disagree much', apart, 2., 300., sl0=8., th0=math.log(83)),
        curve('stages disagree a little', close, 10., 80., sl0=12., th0=math.log(84)),
        curve('low rates, one percent, low weights', low, 2.5, 8., pi=.01, sat=2.4, K=2.2),
    ]
    return out

with open(os.path.join(folder, 'knees.json')) as f: known = json.load(f)
unit = {}; found = []
servs = {s.name: s for s in servers.make()}
for name, budget, seed in SEARCHES:
    c = search(servs[name], known[name], budget, seed, unit); found.append(c)
    print(c['name'], 'knee %.3f, sat %.3f, %d legs' % (c['knee'], c['sat'], len(c['legs'])))
    for v, w in c['want'].items():
        print('  %-5s lo %.4f est %.4f hi %.4f limiting %d' % (v, w['lo'], w['est'], w['hi'], w['limiting']), end='')
        for o in w['objectives']:
            print('; %s r %.2f phi %.1f nu %.1f C %.1f I %.2f' % (
                o['used'], o['ratio'], o['phi'], o['nu'], o['clusters'], o['infl']), end='')
        print()
cs = curves(found)
for c in cs:
    w = c['want']
    print('%-50s lo %.4f est %.4f hi %.4f slope %.2f nu %.2f j %d infl %.3f cells %.4f %.4f' % (
        c['name'], *(math.exp(w[q]) for q in ('q025', 'q50', 'q975')), w['slope'], w['nu'], w['j'], w['infl'],
        w['weight_first_cell'], w['weight_last_cell']))
text = json.dumps(dict(unit=unit, curves=cs, searches=found), allow_nan=False, separators=(',', ':'), sort_keys=True)
with open(out_path, 'wb') as f, gzip.GzipFile(filename='', mode='wb', fileobj=f, mtime=0) as z: z.write(text.encode())
