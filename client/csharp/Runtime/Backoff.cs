using System;

namespace Homing
{
    /// <summary>A server's wish that the client leave and come back.</summary>
    public sealed class Reconnect
    {
        /// <summary>From when it was read; each client gets a time of its own.</summary>
        public readonly TimeSpan After;
        /// <summary>The host, and port, to connect to once, by the client's own scheme and path; empty: the same.</summary>
        public readonly string To;
        internal readonly TimeSpan Read; // by the client's clock

        internal Reconnect(TimeSpan after, string to, TimeSpan read)
        {
            After = after;
            To = to;
            Read = read;
        }
    }

    /// <summary>
    /// How long to wait before the next attempt, as docs/protocol.md says under "Reconnecting".
    /// All of it is random in part, so that clients which lost the same server do not return together.
    /// </summary>
    sealed class Backoff
    {
        internal static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(250);
        const int LongestPow = 7; // 250 ms << 7 = 32 s
        static readonly TimeSpan restart = TimeSpan.FromSeconds(1);
        static readonly TimeSpan overloaded = TimeSpan.FromSeconds(5);
        /// <summary>A connection that lasted longer was no failure.</summary>
        internal static readonly TimeSpan Steady = TimeSpan.FromSeconds(10);

        readonly TimeSpan longest;
        readonly Func<double> random; // from 0 up to and without 1
        int failures; // in a row

        internal Backoff(TimeSpan longest, Func<double> random)
        {
            this.longest = longest;
            this.random = random;
        }

        internal TimeSpan Next(Ending end, Reconnect hint, TimeSpan now)
        {
            failures++;
            if (hint != null) return Max(AfterHint(hint, now), Grown(failures - 1));
            if (end.Kind == EndKind.Refused && end.RetryAfter > TimeSpan.Zero)
            {
                var told = Max(Min(end.RetryAfter, longest), restart);
                return told + Jitter(Times(told, 0.1) + restart);
            }
            if (end.Kind == EndKind.Closed && end.Code == 1012) return Max(Jitter(Times(restart, 2)), Grown(failures - 1));
            return Busy(end) ? Times(overloaded, 0.5) + Jitter(overloaded) : Grown(failures);
        }

        /// <summary>Reports whether the server has said that it cannot serve now.</summary>
        internal static bool Busy(Ending end)
        {
            return end.Kind == EndKind.Closed ? end.Code == 1013 : end.Kind == EndKind.Refused && (end.Code == 429 || end.Code == 503);
        }

        /// <summary>Forgets past failures, after a connection that lasted.</summary>
        internal void Reset() { failures = 0; }

        TimeSpan AfterHint(Reconnect hint, TimeSpan now)
        {
            var left = Max(TimeSpan.Zero, Min(hint.After - (now - hint.Read), longest));
            return left + Jitter(Max(Times(Min(hint.After, longest), 0.1), FirstPause));
        }

        /// <summary>The pause after so many failures in a row; zero after none.</summary>
        TimeSpan Grown(int count)
        {
            if (count < 1) return TimeSpan.Zero;
            var pause = Times(FirstPause, 1 << Math.Min(count - 1, LongestPow));
            return Times(pause, 0.5) + Jitter(pause);
        }

        TimeSpan Jitter(TimeSpan most) { return Times(most, random()); }

        internal static TimeSpan Times(TimeSpan span, double by) { return TimeSpan.FromTicks((long)(span.Ticks * by)); }
        internal static TimeSpan Max(TimeSpan a, TimeSpan b) { return a > b ? a : b; }
        internal static TimeSpan Min(TimeSpan a, TimeSpan b) { return a < b ? a : b; }
    }
}
