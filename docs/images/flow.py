"""Draws flow.svg, the README's picture: python flow.py > flow.svg (needs numpy).

The three middle panels are no sketch: eight chunks of 16 planar actions, integrated with 10 Euler steps through the exact
velocity field of a mixture of smooth chunks that pass an obstacle on either side, for the linear path that advect trains.
"""
import numpy as np

H, N, STEPS, SPREAD = 16, 8, 10, 0.006
s = np.linspace(0, 1, H)
modes = []
for side in (-1, 1):
    for height in (0.40, 0.46, 0.52, 0.58):
        modes.append(np.stack([-0.8 + 1.6 * s, side * height * np.sin(np.pi * s) ** 1.2], -1).ravel())
modes = np.array(modes)


def velocity(x, t):
    var = (t * SPREAD) ** 2 + (1 - t) ** 2
    d = x[:, None] - t * modes[None]
    log = -(d**2).sum(-1) / (2 * var)
    w = np.exp(log - log.max(1, keepdims=True))
    w /= w.sum(1, keepdims=True)
    x1 = modes + t * SPREAD**2 / var * d
    x0 = (1 - t) / var * d
    return np.einsum("nk,nkd->nd", w, x1 - x0)


x = np.random.default_rng(3).normal(size=(N, 2 * H)) * 1.0
states = [x]
for k in range(STEPS):
    states.append(states[-1] + velocity(states[-1], k / STEPS) / STEPS)

W, P, GAP, TOP = 1096, 176, 44, 64
out = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} 352" width="{W}" height="352" role="img" '
    'aria-labelledby="title" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
    "<title id=\"title\">advect's loop: observe, encode once, draw noise for every sample, integrate the learned velocity "
    "from t = 0 to 1, execute the first actions, observe again</title>",
    f'<rect width="{W}" height="352" rx="10" fill="#fbfaf7"/>',
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="#3b4048"/></marker></defs>',
]
COLOURS = ["#0f6e84", "#c4541c"]


def panel(i, title, note):
    x0 = 20 + i * (P + GAP)
    out.append(f'<rect x="{x0}" y="{TOP}" width="{P}" height="{P}" rx="6" fill="#ffffff" stroke="#d5d2c8"/>')
    out.append(f'<text x="{x0 + P / 2}" y="{TOP - 32}" text-anchor="middle" font-size="15" font-weight="600" fill="#20242a">{title}</text>')
    out.append(f'<text x="{x0 + P / 2}" y="{TOP - 13}" text-anchor="middle" font-size="12" fill="#5b616b">{note}</text>')
    return x0


def place(x0, points, scale):
    return " ".join(f"{x0 + P / 2 + scale * px:.1f},{TOP + P / 2 - scale * py:.1f}" for px, py in points)


def scene(x0, scale=88):
    at = lambda px, py: (x0 + P / 2 + scale * px, TOP + P / 2 - scale * py)
    (ax, ay), (gx, gy), (ox, oy) = at(-0.8, 0), at(0.8, 0), at(0, 0)
    out.append(f'<rect x="{ox - 17}" y="{oy - 17}" width="34" height="34" rx="4" fill="#d9d6cc"/>')
    out.append(f'<circle cx="{gx:.1f}" cy="{gy:.1f}" r="7" fill="none" stroke="#5b8c3a" stroke-width="2.5"/>')
    out.append(f'<circle cx="{ax:.1f}" cy="{ay:.1f}" r="6" fill="#20242a"/>')


def chunks(x0, state, scale):
    sides = np.sign(states[-1].reshape(N, H, 2)[:, H // 2, 1])
    clip = f"clip{x0}"
    out.append(f'<clipPath id="{clip}"><rect x="{x0 + 1}" y="{TOP + 1}" width="{P - 2}" height="{P - 2}" rx="5"/></clipPath>')
    out.append(f'<g clip-path="url(#{clip})" fill="none" stroke-width="1.6" stroke-linejoin="round" stroke-opacity=".75">')
    for c, side in zip(state.reshape(N, H, 2), sides):
        out.append(f'<polyline stroke="{COLOURS[int(side > 0)]}" points="{place(x0, c, scale)}"/>')
    out.append("</g>")


first = panel(0, "observe", "encode: z = E(o), once")
scene(first)
for i, (k, title, note) in enumerate([(0, "noise", "t = 0, named by a seed"), (8, "integrate", "da/dt = v(a, t, z)"), (STEPS, "actions", "t = 1, both ways round")]):
    x0 = panel(1 + i, title, note)
    scene(x0)
    chunks(x0, states[k], 88 if k else 30)
last = panel(4, "execute", "the first actions of one chunk")
scene(last)
one = states[-1].reshape(N, H, 2)[int(np.argmax(states[-1].reshape(N, H, 2)[:, H // 2, 1]))]
out.append(f'<polyline fill="none" stroke="{COLOURS[1]}" stroke-opacity=".35" stroke-width="2" points="{place(last, one, 88)}"/>')
out.append(f'<polyline fill="none" stroke="{COLOURS[1]}" stroke-width="3.5" stroke-linecap="round" points="{place(last, one[:7], 88)}"/>')
mid = TOP + P / 2
for i in range(4):
    x0 = 20 + i * (P + GAP) + P
    out.append(f'<path d="M{x0 + 7} {mid}H{x0 + GAP - 7}" stroke="#3b4048" stroke-width="1.8" marker-end="url(#tip)"/>')
foot = TOP + P
out.append(
    f'<path d="M{last + P / 2} {foot + 8}V{foot + 42}Q{last + P / 2} {foot + 52} {last + P / 2 - 10} {foot + 52}'
    f'H{first + P / 2 + 10}Q{first + P / 2} {foot + 52} {first + P / 2} {foot + 42}V{foot + 10}" '
    'fill="none" stroke="#3b4048" stroke-width="1.8" marker-end="url(#tip)"/>'
)
out.append(
    f'<text x="{W / 2}" y="{foot + 76}" text-anchor="middle" font-size="13" fill="#5b616b">'
    "one recording per request: noise, every solver step and the read-back, on the GPU or on the CPU</text>"
)
out.append("</svg>")
print("\n".join(out))
