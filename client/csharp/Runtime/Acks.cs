using System;
using System.Collections.Generic;

namespace Homing
{
    /// <summary>
    /// Gathers acknowledgements, so that a flood of messages is answered by a few. Those that wait
    /// while there is no connection go to the next one.
    /// </summary>
    sealed class Acks
    {
        // A message stays far below what a server takes: 256 ids, 64 KiB.
        const int batch = 64, batchBytes = 16 << 10;
        // So many may wait; those beyond come again with the next replay, and are acknowledged then.
        const int most = 1024;
        static readonly TimeSpan delay = TimeSpan.FromMilliseconds(50);

        readonly List<string> ids = new List<string>();
        int weight; // of ids
        TimeSpan at; // when they are sent; where there are any

        internal TimeSpan? Due { get { return ids.Count == 0 ? (TimeSpan?)null : at; } }

        internal void Add(string id, TimeSpan now)
        {
            if (ids.Count >= most || ids.Contains(id)) return;
            if (ids.Count == 0) at = now + delay;
            ids.Add(id);
            weight += id.Length;
            if (ids.Count >= batch || weight >= batchBytes) at = now;
        }

        /// <summary>What is due, or all, as messages.</summary>
        internal IEnumerable<string> Take(TimeSpan now, bool all)
        {
            while (ids.Count > 0 && (all || now >= at))
            {
                int count = Math.Min(batch, ids.Count);
                var part = ids.GetRange(0, count);
                ids.RemoveRange(0, count);
                foreach (string id in part) weight -= id.Length;
                yield return new JsonWriter().Add("t", "ack").Add("ids", part).ToString();
            }
        }
    }
}
