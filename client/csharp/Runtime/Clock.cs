using System;
using System.Diagnostics;
using System.Security.Cryptography;

namespace Homing
{
    /// <summary>
    /// The monotonic clock, which a change of the device's date does not move, and chance.
    /// Tests put others in their place.
    /// </summary>
    class Clock
    {
        internal static readonly Clock System = new Clock();
        static readonly Stopwatch watch = Stopwatch.StartNew();
        static readonly Random chance = new Random(BitConverter.ToInt32(Bytes(4), 0));

        internal virtual TimeSpan Now { get { return watch.Elapsed; } }

        /// <summary>The date, which anybody may change.</summary>
        internal virtual DateTime UtcNow { get { return DateTime.UtcNow; } }

        /// <summary>From 0 up to and without 1; not for secrets.</summary>
        internal virtual double Random()
        {
            lock (chance) return chance.NextDouble();
        }

        /// <summary>Random bytes that nobody can foresee.</summary>
        internal static byte[] Bytes(int count)
        {
            var b = new byte[count];
            using (var source = RandomNumberGenerator.Create()) source.GetBytes(b);
            return b;
        }
    }
}
