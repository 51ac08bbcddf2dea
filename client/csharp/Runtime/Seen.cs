using System.Collections.Generic;

namespace Homing
{
    /// <summary>Remembers the last ids of notifications that were dealt with.</summary>
    sealed class Seen
    {
        internal const int Limit = 1024;
        readonly HashSet<string> ids = new HashSet<string>();
        readonly Queue<string> order = new Queue<string>();

        /// <summary>The empty id never is.</summary>
        internal bool Has(string id) { return ids.Contains(id); }

        /// <summary>Remembers an id in place of the oldest.</summary>
        internal void Add(string id)
        {
            if (id.Length == 0 || !ids.Add(id)) return;
            order.Enqueue(id);
            if (order.Count > Limit) ids.Remove(order.Dequeue());
        }
    }
}
