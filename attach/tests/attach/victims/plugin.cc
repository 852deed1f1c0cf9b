// A library that throws exceptions through a function that it is given.
static long thrower(long n)
{
	if (n % 2)
		throw n;
	return n;
}

// How often something else than the right thing came back.
extern "C" long failing(long (*through)(long (*)(long), long), long n)
{
	long failures = 0;
	for (long i = 0; i < n; i++) {
		long caught = -1, value = -1;
		try {
			value = through(thrower, i);
		} catch (long thrown) {
			caught = thrown;
		}
		failures += i % 2 ? caught != i : value != i + 1;
	}
	return failures;
}
