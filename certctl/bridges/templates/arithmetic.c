/*@ horner */
static double horner(double q, const double *c, int n)
{
    double p = q * c[0];
    for (int i = 1; i < n; ++i)
        p = (p + c[i]) * q;
    return p;
}

/*@ tanh : horner TANH */
static double tanh_point(double x)
{
    static const double c[3] = {$tanh_series};
    if (x != x)
        return x;
    x = x > 20.0 ? 20.0 : x < -20.0 ? -20.0 : x;
    const double z = x + $grid, g = z - $grid, h = x - g;
    const double s = h + h * horner(h * h, c, 3);
    const int k = (int)(g * 64.0);
    const double t = k < 0 ? -TANH[-k] : TANH[k];
    return (t + s) / (1.0 + t * s);
}

/*@ sigmoid : tanh */
static double sigmoid_point(double x)
{
    return tanh_point(x * 0.5) * 0.5 + 0.5;
}

/*@ exp : horner EXP2 */
static double exp_point(double x)
{
    static const double c[4] = {$exp_series};
    if (x != x)
        return x;
    if (x > $top)
        return HUGE_VAL;
    const double y = x < -708.0 ? -708.0 : x;
    const double z = y * $per_ln2 + $ones, k = z - $ones;
    const double r = y - k * $ln2_high - k * $ln2_low;
    const double m = floor(k / 128.0);
    const double t = ldexp(EXP2[(int)(k - 128.0 * m)], (int)m);
    return t + t * (r + r * horner(r, c, 4));
}

/*@ log1p : horner LOG */
static double log1p_point(double y)
{
    static const double c[3] = {$log_series};
    if (y != y)
        return y;
    const double z = y + $grid, g = z - $grid, d = y - g;
    const double w = d / (1.0 + g + d * 0.5);
    const int k = (int)(g * 64.0);
    return LOG[k < 0 ? k + 128 : k] + (w + w * horner(w * w, c, 3));
}

/*@ log : log1p */
static double log_point(double x)
{
    int e = 0;
    if (!(x > 0.0))
        return HUGE_VAL - HUGE_VAL; /* not a number */
    if (x > DBL_MAX)
        return x;
    double m = frexp(x, &e);
    if (m < 0.7) {
        m = 2.0 * m;
        e = e - 1;
    }
    return e * $ln2_128_high + (e * $ln2_128_low + log1p_point(m - 1.0));
}

/*@ softplus : exp log1p */
static double softplus_point(double x)
{
    return (x > 0.0 ? x : 0.0) + log1p_point(exp_point(-fabs(x)));
}

/*@ atan : horner ATAN */
static double atan_point(double x)
{
    static const double c[3] = {$atan_series};
    if (x != x)
        return x;
    const double a = fabs(x), y = a > 1.0 ? 1.0 / a : a;
    const double z = y + $grid, g = z - $grid;
    const double w = (y - g) / (1.0 + g * y);
    const double v = ATAN[(int)(g * 64.0)] + (w + w * horner(w * w, c, 3));
    return copysign(a > 1.0 ? $half_pi - v : v, x);
}

/*@ sine : horner SIN */
static double sine_point(double x, int shift, double *error)
{
    static const double sines[3] = {$sine_series}, cosines[3] = {$cosine_series};
    const double z = x * $per_pi + $ones, k = z - $ones;
    const double r = x - k * $pi_high - k * $pi_middle - k * $pi_low, q = r * r;
    const double n = k + shift;
    const int i = (int)(n - 128.0 * floor(n / 128.0));
    const double s = SIN[i], c = SIN[i + 32];
    const double v = s + (s * horner(q, cosines, 3) + c * (r + r * horner(q, sines, 3)));
    *error = fabs(v) * 0x1p-49 + (fabs(k) * 0x1p-110 + 0x1p-1070);
    return v;
}

/*@ sin : sine */
static double sin_point(double x)
{
    double error = 0.0;
    return fabs(x) <= 0x1p20 ? sine_point(x, 0, &error) : sin(x);
}

/*@ cos : sine */
static double cos_point(double x)
{
    double error = 0.0;
    return fabs(x) <= 0x1p20 ? sine_point(x, 32, &error) : cos(x);
}

/*@ neg */
static double neg_point(double x)
{
    return -x;
}

/*@ abs */
static double abs_point(double x)
{
    return fabs(x);
}

/*@ sqrt */
static double sqrt_point(double x)
{
    return sqrt(x);
}

/*@ min */
static double min_point(double a, double b)
{
    return a < b ? a : b <= a ? b : a + b; /* a + b is not a number where one of them is not */
}

/*@ max */
static double max_point(double a, double b)
{
    return a > b ? a : b >= a ? b : a + b;
}

/*@ relu : max */
static double relu_point(double x)
{
    return max_point(x, 0.0);
}

/*@ leaky_relu */
static double leaky_relu_point(double x, double slope)
{
    return x < 0.0 ? slope * x : x;
}

/*@ pow */
static double pow_point(double x, int k)
{
    double y = 1.0;
    for (int i = 0; i < k; ++i)
        y = y * x;
    return y;
}

/*@ affine */
static void affine_point(const double *w, const double *b, const double *x, int rows, int columns, double *y)
{
    for (int i = 0; i < rows; ++i) {
        double sum = b[i];
        for (int j = 0; j < columns; ++j)
            sum += w[i * columns + j] * x[j];
        y[i] = sum;
    }
}

/*@ enclosure */
typedef struct {
    double lo, hi;
} enclosure;

/*@ between : enclosure */
static enclosure between(double lo, double hi)
{
    enclosure r;
    r.lo = lo;
    r.hi = hi;
    return r;
}

/*@ outward : between */
static enclosure outward(double lo, double hi, double step, double slack)
{
    return between(lo - (fabs(lo) * step + slack), hi + (fabs(hi) * step + slack));
}

/*@ add_enclosed : outward */
static enclosure add_enclosed(enclosure a, enclosure b)
{
    return outward(a.lo + b.lo, a.hi + b.hi, 0x1p-51, 0x1p-1070);
}

/*@ sub_enclosed : outward */
static enclosure sub_enclosed(enclosure a, enclosure b)
{
    return outward(a.lo - b.hi, a.hi - b.lo, 0x1p-51, 0x1p-1070);
}

/*@ hull : outward min max */
static enclosure hull(double p, double q, double r, double s)
{
    return outward(min_point(min_point(p, q), min_point(r, s)), max_point(max_point(p, q), max_point(r, s)), 0x1p-51, 0x1p-1070);
}

/*@ mul_enclosed : hull */
static enclosure mul_enclosed(enclosure a, enclosure b)
{
    return hull(a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi);
}

/*@ div_enclosed : hull */
static enclosure div_enclosed(enclosure a, enclosure b)
{
    if (!(b.lo > 0.0 || b.hi < 0.0))
        return between(HUGE_VAL - HUGE_VAL, HUGE_VAL - HUGE_VAL); /* the divisor may be zero: not a number */
    return hull(a.lo / b.lo, a.lo / b.hi, a.hi / b.lo, a.hi / b.hi);
}

/*@ neg_enclosed : between */
static enclosure neg_enclosed(enclosure a)
{
    return between(-a.hi, -a.lo);
}

/*@ min_enclosed : between min */
static enclosure min_enclosed(enclosure a, enclosure b)
{
    return between(min_point(a.lo, b.lo), min_point(a.hi, b.hi));
}

/*@ max_enclosed : between max */
static enclosure max_enclosed(enclosure a, enclosure b)
{
    return between(max_point(a.lo, b.lo), max_point(a.hi, b.hi));
}

/*@ relu_enclosed : max_enclosed */
static enclosure relu_enclosed(enclosure a)
{
    return max_enclosed(a, between(0.0, 0.0));
}

/*@ abs_enclosed : max_enclosed neg_enclosed */
static enclosure abs_enclosed(enclosure a)
{
    return max_enclosed(a, max_enclosed(neg_enclosed(a), between(0.0, 0.0)));
}

/*@ leaky_relu_enclosed : relu_enclosed min_enclosed mul_enclosed add_enclosed */
static enclosure leaky_relu_enclosed(enclosure a, enclosure slope)
{
    return add_enclosed(relu_enclosed(a), mul_enclosed(slope, min_enclosed(a, between(0.0, 0.0))));
}

/*@ pow_enclosed : mul_enclosed */
static enclosure pow_enclosed(enclosure a, int k)
{
    enclosure y = between(1.0, 1.0);
    for (int i = 0; i < k; ++i)
        y = i == 0 ? a : mul_enclosed(y, a);
    return y;
}

/*@ within : enclosure min max */
static enclosure within(enclosure a, double floor_, double ceiling)
{
    a.lo = max_point(a.lo, floor_);
    a.hi = min_point(a.hi, ceiling);
    return a;
}

/*@ tanh_enclosed : tanh outward within */
static enclosure tanh_enclosed(enclosure a)
{
    return within(outward(tanh_point(a.lo), tanh_point(a.hi), 0x1p-50, 0x1p-1070), -1.0, 1.0);
}

/*@ sigmoid_enclosed : sigmoid outward within */
static enclosure sigmoid_enclosed(enclosure a)
{
    return within(outward(sigmoid_point(a.lo), sigmoid_point(a.hi), 0.0, 0x1p-50), 0.0, 1.0);
}

/*@ softplus_enclosed : softplus outward */
static enclosure softplus_enclosed(enclosure a)
{
    return outward(softplus_point(a.lo), softplus_point(a.hi), 0x1p-49, 0x1p-1020);
}

/*@ exp_enclosed : exp outward within */
static enclosure exp_enclosed(enclosure a)
{
    return within(outward(exp_point(a.lo > $top ? $top : a.lo), exp_point(a.hi), 0x1p-51, 0x1p-1020), 0.0, HUGE_VAL);
}

/*@ log_enclosed : log outward */
static enclosure log_enclosed(enclosure a)
{
    return outward(log_point(a.lo), log_point(a.hi), 0x1p-50, 0x1p-1070);
}

/*@ sqrt_enclosed : outward within */
static enclosure sqrt_enclosed(enclosure a)
{
    return within(outward(sqrt(a.lo), sqrt(a.hi), 0x1p-51, 0x1p-1070), 0.0, HUGE_VAL);
}

/*@ atan_enclosed : atan outward */
static enclosure atan_enclosed(enclosure a)
{
    return outward(atan_point(a.lo), atan_point(a.hi), 0x1p-49, 0x1p-1070);
}

/*@ wave_enclosed : sine within between */
static enclosure wave_enclosed(enclosure a, int shift)
{
    if (!(a.lo <= a.hi))
        return between(a.lo + a.hi, a.lo + a.hi);
    if (!(a.lo >= -0x1p20 && a.hi <= 0x1p20))
        return between(-1.0, 1.0);
    double e = 0.0, f = 0.0;
    const double v = sine_point(a.lo, shift, &e), w = sine_point(a.hi, shift, &f), phase = shift / 128.0 - 0.25;
    const double first = a.lo * $per_turn + (phase - 0x1p-32), last = a.hi * $per_turn + (phase + 0x1p-32);
    enclosure r = within(between(min_point(v - e, w - f), max_point(v + e, w + f)), -1.0, 1.0);
    if (floor(last) >= first)
        r.hi = 1.0;
    if (floor(last + 0.5) >= first + 0.5)
        r.lo = -1.0;
    return r;
}

/*@ sin_enclosed : wave_enclosed */
static enclosure sin_enclosed(enclosure a)
{
    return wave_enclosed(a, 0);
}

/*@ cos_enclosed : wave_enclosed */
static enclosure cos_enclosed(enclosure a)
{
    return wave_enclosed(a, 32);
}

/*@ affine_enclosed : add_enclosed mul_enclosed between */
static void affine_enclosed(const double *w_lo, const double *w_hi, const double *b_lo, const double *b_hi, const enclosure *x, int rows,
                            int columns, enclosure *y)
{
    for (int i = 0; i < rows; ++i) {
        enclosure sum = between(b_lo[i], b_hi[i]);
        for (int j = 0; j < columns; ++j) {
            const int at = i * columns + j;
            sum = add_enclosed(sum, mul_enclosed(between(w_lo[at], w_hi[at]), x[j]));
        }
        y[i] = sum;
    }
}

/*@ rounds_to_nearest */
static int rounds_to_nearest(void)
{
    /* volatile, so that the machine computes this and not the compiler: rounding to nearest, and subnormal numbers kept */
    volatile double one = 1.0, tiny = 0x1p-54, least = DBL_MIN;
    volatile double above = one + tiny, below = one - tiny, low = -one - tiny, half = least * 0.5;
    return above == 1.0 && below == 1.0 && low == -1.0 && half > 0.0;
}
